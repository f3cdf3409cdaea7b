import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from peft import LoraConfig, PeftConfig, PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from finetune_trainer.artifact import inspect
from finetune_trainer.contract import MergeRequest, MergeSummary
from finetune_trainer.merging.publication import refuse_small_disk
from finetune_trainer.pod.errors import ConfigurationError, ModelError, StorageError
from tests.serving.merging.conftest import save_adapter

Ask = Callable[..., MergeRequest]
Merge = Callable[[MergeRequest], MergeSummary]
ATTENTION = ["q_proj", "v_proj"]
LORA: dict[str, Any] = {"r": 4, "lora_alpha": 8, "target_modules": [*ATTENTION, "down_proj"], "task_type": "CAUSAL_LM"}
LIGHT: dict[str, Any] = {"target_modules": ATTENTION, "task_type": "CAUSAL_LM"}
KINDS: dict[str, PeftConfig] = {
    "LoRA": LoraConfig(**LORA),
    "DoRA": LoraConfig(**LORA, use_dora=True),
    "RSLoRA": LoraConfig(**LORA, use_rslora=True),
    "LoRA with a saved head": LoraConfig(**LORA, modules_to_save=["lm_head"]),
    "LoRA with saved embeddings": LoraConfig(**LORA, modules_to_save=["embed_tokens"]),
    "LoRA with a saved norm": LoraConfig(**LORA, modules_to_save=["norm"]),
    "LoRA on tied embeddings": LoraConfig(**{**LORA, "target_modules": ["q_proj", "embed_tokens"]}),
    "LoRA on a tied head": LoraConfig(**{**LORA, "target_modules": ["q_proj", "lm_head"]}),
    "IA3": peft.IA3Config(target_modules=["k_proj", "v_proj", "down_proj"], feedforward_modules=["down_proj"], task_type="CAUSAL_LM"),
    "AdaLoRA": peft.AdaLoraConfig(**LIGHT, total_step=10),
    "BOFT": peft.BOFTConfig(**LIGHT, boft_block_size=4),
    "FourierFT": peft.FourierFTConfig(**LIGHT, n_frequency=50),
    "HRA": peft.HRAConfig(**LIGHT, r=4),
    "LayerNorm": peft.LNTuningConfig(target_modules=["input_layernorm"], task_type="CAUSAL_LM"),
    "LoHa": peft.LoHaConfig(**LIGHT, r=4),
    "LoKr": peft.LoKrConfig(**LIGHT, r=4),
    "OFT": peft.OFTConfig(**LIGHT, oft_block_size=8, use_cayley_neumann=False),
    "RandLora": peft.RandLoraConfig(**LIGHT, r=4),
    "SHiRA": peft.ShiraConfig(**LIGHT, r=4),
    "VeRA": peft.VeraConfig(target_modules=["q_proj"], task_type="CAUSAL_LM", r=8),
}


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        answer: torch.Tensor = model(input_ids=torch.arange(40, 72).reshape(2, 16)).logits
    return answer


def model_folder(request: MergeRequest, summary: MergeSummary) -> Path:
    return Path(request.out_path) / summary.digest.removeprefix("sha256:")


@pytest.mark.parametrize("kind", KINDS)
def test_a_merged_model_answers_as_base_and_adapter_did(kind: str, tiny_base: Path, tmp_path: Path, request_for: Ask, merge: Merge) -> None:
    adapter = save_adapter(tiny_base, tmp_path / "adapter", KINDS[kind])
    request = request_for(tiny_base, adapter)
    summary = merge(request)
    with_adapter = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny_base, dtype=torch.float32), adapter).eval()
    wanted = logits(with_adapter)
    found = logits(AutoModelForCausalLM.from_pretrained(model_folder(request, summary)).eval())
    assert float((wanted - found).abs().max()) <= 1e-4
    with with_adapter.disable_adapter():
        assert float((logits(with_adapter) - found).abs().max()) > 1e-3
    assert summary.dtype == "F32"
    assert float(summary.difference) <= float(summary.tolerance) == 1e-4


@pytest.mark.parametrize(("dtype", "name", "limit"), [(torch.bfloat16, "BF16", 0.025), (torch.float16, "F16", 0.0032)])
@pytest.mark.parametrize("kind", ["LoRA", "DoRA", "RSLoRA", "IA3"])
def test_half_precision_stays_and_costs_its_rounding_only(
    kind: str, dtype: torch.dtype, name: str, limit: float, tiny_base: Path, tmp_path: Path, request_for: Ask, merge: Merge
) -> None:
    base = shutil.copytree(tiny_base, tmp_path / "half")
    AutoModelForCausalLM.from_pretrained(tiny_base, dtype=dtype).save_pretrained(base)
    request = request_for(base, save_adapter(base, tmp_path / "adapter", KINDS[kind]))
    summary = merge(request)
    assert summary.dtype == name
    assert {tensor.dtype for tensor in load_file(model_folder(request, summary) / "model.safetensors").values()} == {dtype}
    assert 0 < float(summary.difference) <= float(summary.tolerance) <= 2.5 * limit
    assert float(summary.difference) <= limit


@pytest.fixture
def lora(tiny_base: Path, tmp_path: Path) -> Path:
    return save_adapter(tiny_base, tmp_path / "adapter", KINDS["LoRA"])


def test_the_folder_holds_what_an_engine_needs_and_nothing_else(tiny_base: Path, lora: Path, request_for: Ask, merge: Merge) -> None:
    request = request_for(tiny_base, lora)
    summary = merge(request)
    folder = model_folder(request, summary)
    names = ["chat_template.jinja", "config.json", "finetune.json", "generation_config.json", "model.safetensors"]
    assert sorted(path.name for path in folder.iterdir()) == [*names, "tokenizer.json", "tokenizer_config.json"]
    assert inspect(folder).digest == summary.digest
    assert summary.uri == f"pvc://models/merged/{folder.name}"
    assert {path.stat().st_mode & 0o044 for path in folder.iterdir()} == {0o044}
    facts = json.loads((folder / "finetune.json").read_text())
    assert (facts["weights"], facts["mergedFrom"]["adapterDigest"]) == ("Model", request.adapter_digest)
    assert facts["base"]["digest"] == request.base_digest
    record = json.loads((folder.with_name(f"{folder.name}.meta") / "record.json").read_text())
    assert record["merge"]["digest"] == summary.digest
    assert {"peft", "torch", "transformers"} <= set(record["versions"])
    assert summary.digest in (folder.with_name(f"{folder.name}.meta") / "README.md").read_text()
    assert all(str(place).encode() not in path.read_bytes() for place in (tiny_base, lora) for path in folder.iterdir())


def test_the_adapters_tokenizer_and_template_go_before_the_bases(tiny_base: Path, lora: Path, request_for: Ask, merge: Merge) -> None:
    AutoTokenizer.from_pretrained(tiny_base).save_pretrained(lora)
    (lora / "chat_template.jinja").write_text("{{ messages[0]['content'] }}")
    request = request_for(tiny_base, lora)
    assert (model_folder(request, merge(request)) / "chat_template.jinja").read_text() == "{{ messages[0]['content'] }}"


def test_a_finished_merge_is_answered_without_its_inputs(tiny_base: Path, lora: Path, request_for: Ask, merge: Merge) -> None:
    request = request_for(tiny_base, lora)
    summary = merge(request)
    weights = model_folder(request, summary) / "model.safetensors"
    before = weights.stat().st_mtime_ns
    shutil.rmtree(lora)
    assert merge(request) == summary
    assert weights.stat().st_mtime_ns == before


def test_a_finished_model_that_somebody_changed_is_not_answered_with(tiny_base: Path, lora: Path, request_for: Ask, merge: Merge) -> None:
    request = request_for(tiny_base, lora)
    (model_folder(request, merge(request)) / "config.json").write_text("{}")
    with pytest.raises(StorageError, match="ArtifactNameTaken"):
        merge(request)


def test_the_same_inputs_give_the_same_digest_elsewhere(
    tiny_base: Path, lora: Path, tmp_path: Path, request_for: Ask, merge: Merge
) -> None:
    there = request_for(tiny_base, lora, out_path=str(tmp_path / "there"))
    assert merge(there).digest == merge(request_for(tiny_base, lora)).digest


@pytest.mark.parametrize("field", ["base_digest", "adapter_digest"])
def test_another_digest_is_refused(field: str, tiny_base: Path, lora: Path, request_for: Ask, merge: Merge) -> None:
    request = request_for(tiny_base, lora, **{field: "sha256:" + "0" * 64})
    with pytest.raises(ModelError, match="DigestMismatch"):
        merge(request)
    assert [path.name for path in Path(request.out_path).iterdir()] == [".merges"]


@pytest.mark.parametrize("kind", ["PREFIX_TUNING", "PROMPT_TUNING", "P_TUNING"])
def test_prompts_are_refused_before_any_weight_is_read(kind: str, tmp_path: Path, tiny_base: Path, request_for: Ask, merge: Merge) -> None:
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text(json.dumps({"peft_type": kind}))
    (adapter / "adapter_model.safetensors").write_bytes(b"no weights")
    with pytest.raises(ConfigurationError, match="AdapterNotMergeable") as refused:
        merge(request_for(tiny_base, adapter))
    assert "engine Transformers" in refused.value.hint


FIELDS = {"alora_invocation_tokens": [1, 2], "layer_replication": [[0, 2]], "init_lora_weights": "pissa", "peft_type": "POLY"}


@pytest.mark.parametrize("field", FIELDS)
def test_what_no_weights_can_stand_for_is_refused_by_field(field: str, tiny_base: Path, lora: Path, request_for: Ask, merge: Merge) -> None:
    config = json.loads((lora / "adapter_config.json").read_text())
    (lora / "adapter_config.json").write_text(json.dumps({**config, field: FIELDS[field]}))
    with pytest.raises(ConfigurationError, match=f"adapter_config.json:{field}"):
        merge(request_for(tiny_base, lora))


def test_a_quantized_base_is_refused_with_the_way_out(tiny_base: Path, lora: Path, tmp_path: Path, request_for: Ask, merge: Merge) -> None:
    base = shutil.copytree(tiny_base, tmp_path / "quantized")
    config = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps({**config, "quantization_config": {"quant_method": "bitsandbytes"}}))
    with pytest.raises(ModelError, match="BaseModelQuantized") as refused:
        merge(request_for(base, lora))
    assert "full-precision" in refused.value.hint


def test_weights_of_the_adapter_that_fit_nowhere_or_are_missing_are_refused(
    tiny_base: Path, lora: Path, request_for: Ask, merge: Merge
) -> None:
    tensors = load_file(lora / "adapter_model.safetensors")
    tensors.pop(min(tensors))
    save_file(tensors, lora / "adapter_model.safetensors")
    with pytest.raises(ModelError, match="AdapterMisfit"):
        merge(request_for(tiny_base, lora))


def test_an_adapter_without_effect_is_no_model_of_its_own(tiny_base: Path, tmp_path: Path, request_for: Ask, merge: Merge) -> None:
    request = request_for(tiny_base, save_adapter(tiny_base, tmp_path / "untrained", KINDS["LoRA"], scale=0.0))
    with pytest.raises(ModelError, match="EffectLost"):
        merge(request)
    assert [path.name for path in Path(request.out_path).iterdir()] == [".merges"]


def test_a_whole_model_and_a_base_nobody_names_are_refused(tiny_base: Path, lora: Path, request_for: Ask, merge: Merge) -> None:
    with pytest.raises(ModelError, match="NotAnAdapter"):
        merge(request_for(tiny_base, tiny_base))
    with pytest.raises(ConfigurationError, match="BaseUriMissing"):
        merge(request_for(tiny_base, lora, base_uri=None))


def test_too_small_a_disk_is_told_before_anything_is_written(tmp_path: Path) -> None:
    refuse_small_disk(tmp_path, 1 << 30, 2 << 30)
    with pytest.raises(StorageError, match="DiskTooSmall"):
        refuse_small_disk(tmp_path, 1 << 30, 1 << 30)
