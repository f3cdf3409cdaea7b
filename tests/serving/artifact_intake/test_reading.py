"""What is read off an adapter and a base model agrees with what the trainer wrote about them."""

import json
from pathlib import Path
from typing import Any

import pytest

from finetune_inference.artifact.compatibility import findings
from finetune_inference.artifact.contents import ADAPTER_CONFIG, PICKLE_SUFFIXES, TOKENIZER_FILES
from finetune_inference.artifact.errors import IntakeError
from finetune_inference.artifact.reading import adapter_facts, base_facts
from finetune_inference.contract import EngineLimits, EngineSpec
from finetune_trainer.artifact import contents
from tests.engines.artifacts import AdapterFiles
from tests.unit.trainer.conftest import tiny_base  # noqa: F401 - fixture


def test_agent_and_trainer_mean_the_same_files() -> None:
    assert sorted(contents.TOKENIZER_FILES) == sorted(TOKENIZER_FILES)
    assert contents.PICKLE_SUFFIXES == PICKLE_SUFFIXES


def test_tokenizer_and_template_have_the_digests_that_training_records(tiny_base: Path) -> None:  # noqa: F811
    from transformers import AutoTokenizer

    from finetune_trainer.artifact.facts import template_contract

    recorded = template_contract(tiny_base, AutoTokenizer.from_pretrained(tiny_base), tiny_base)
    found = base_facts(tiny_base, None)
    assert found.tokenizer_digest == recorded.tokenizer_digest
    assert found.template_digest == recorded.chat_template_digest
    assert found.template_digest is not None


@pytest.mark.parametrize("targets", ["all-linear", ["q_proj", "o_proj"], ["embed_tokens", "v_proj"]], ids=str)
def test_an_adapter_that_the_library_saved_fits_its_base(tiny_base: Path, tmp_path: Path, targets: Any) -> None:  # noqa: F811
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    model = get_peft_model(
        AutoModelForCausalLM.from_pretrained(tiny_base),
        LoraConfig(r=8, target_modules=targets, rank_pattern={"v_proj": 4}, task_type="CAUSAL_LM"),
    )
    model.save_pretrained(tmp_path / "adapter")
    facts = adapter_facts(tmp_path / "adapter")
    assert facts.tensors
    assert findings(facts, base_facts(tiny_base, None), EngineSpec(limits=EngineLimits(max_lora_rank=8))) == ()


def test_a_damaged_weight_file_is_named(tmp_path: Path) -> None:
    AdapterFiles().write(tmp_path / "adapter")
    weights = tmp_path / "adapter" / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-7])
    with pytest.raises(IntakeError) as refused:
        adapter_facts(tmp_path / "adapter")
    assert (refused.value.finding.field, refused.value.finding.reason) == ("adapter_model.safetensors", "WeightsDamaged")


def test_an_index_that_points_outside_is_refused(tmp_path: Path) -> None:
    index = json.dumps({"weight_map": {"a": "../../base/model.safetensors"}}).encode()
    AdapterFiles(extra={"model.safetensors.index.json": index}).write(tmp_path / "adapter")
    with pytest.raises(IntakeError) as refused:
        adapter_facts(tmp_path / "adapter")
    assert (refused.value.finding.field, refused.value.finding.reason) == ("model.safetensors.index.json", "WeightsMissing")


@pytest.mark.parametrize("content", [b"{", b"[" * 100_000, b"\xff"], ids=["torn", "deep", "no text"])
def test_a_config_that_is_no_json_is_refused(tmp_path: Path, content: bytes) -> None:
    AdapterFiles(extra={ADAPTER_CONFIG: content}).write(tmp_path / "adapter")
    with pytest.raises(IntakeError) as refused:
        adapter_facts(tmp_path / "adapter")
    assert (refused.value.finding.field, refused.value.finding.reason) == (ADAPTER_CONFIG, "FileUnreadable")


def test_code_that_travels_along_is_seen(tmp_path: Path) -> None:
    AdapterFiles(extra={"tokenizer_config.json": b'{"auto_map": {"AutoTokenizer": "evil.Tokenizer"}}'}).write(tmp_path / "adapter")
    assert adapter_facts(tmp_path / "adapter").runs_code == ("tokenizer_config.json",)


def test_a_template_file_counts_before_the_entry_in_the_config(tmp_path: Path) -> None:
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"chat_template": "old"}), encoding="utf-8")
    old = base_facts(tmp_path, None).template_digest
    (tmp_path / "chat_template.jinja").write_text("new", encoding="utf-8")
    assert base_facts(tmp_path, None).template_digest not in {old, None}


def test_reading_needs_no_torch() -> None:
    import subprocess
    import sys

    code = "import sys, finetune_inference.artifact.reading, finetune_inference.artifact.store; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
