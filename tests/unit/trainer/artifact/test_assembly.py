import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from finetune_trainer.artifact import Artifact, assemble, inspect
from finetune_trainer.artifact.contents import PICKLE_SUFFIXES
from finetune_trainer.contract import SCAN_REPORT, RunSpec
from finetune_trainer.identifiers import Scanner, ScanReport
from finetune_trainer.pod.errors import ModelError
from finetune_trainer.pod.resolved import read_resolved
from finetune_trainer.pod.sealing import file_digest
from finetune_trainer.pod.workspace import Workspace
from tests.unit.trainer.artifact.conftest import BASE_DIGEST, copy_folder, resolved_run

SpecMaker = Callable[..., RunSpec]


@pytest.fixture
def spec(run_spec: SpecMaker) -> RunSpec:
    return run_spec()


def build(workspace: Workspace, spec: RunSpec, saved: Path, tokenizer: Any) -> Artifact:
    return assemble(workspace, spec, saved=saved, tokenizer=tokenizer, base_digest=BASE_DIGEST)


def test_an_adapter_artifact_holds_these_files_and_no_other(
    workspace: Workspace, spec: RunSpec, saved_adapter: Path, tokenizer: Any
) -> None:
    names = [file.name for file in build(workspace, spec, saved_adapter, tokenizer).files]
    assert names == [
        "adapter_config.json",
        "adapter_model.safetensors",
        "chat_template.jinja",
        "finetune.json",
        "tokenizer.json",
        "tokenizer_config.json",
    ]


def test_no_path_of_the_pod_is_left(workspace: Workspace, spec: RunSpec, saved_adapter: Path, tokenizer: Any, tiny_base: Path) -> None:
    assert str(tiny_base) in (saved_adapter / "adapter_config.json").read_text()
    build(workspace, spec, saved_adapter, tokenizer)
    for path in workspace.out.iterdir():
        content = path.read_bytes()
        for place in (str(tiny_base), "/mnt/", "/workspace", "/tmp/"):
            assert place.encode() not in content, path.name
    config = json.loads((workspace.out / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "pvc://models/tiny"
    assert config["inference_mode"] is True


def test_a_path_in_a_place_nobody_thought_of_is_refused(workspace: Workspace, spec: RunSpec, saved_adapter: Path, tokenizer: Any) -> None:
    config = json.loads((saved_adapter / "adapter_config.json").read_text())
    (saved_adapter / "adapter_config.json").write_text(json.dumps({**config, "new_field": ["/workspace/base/x"]}))
    with pytest.raises(ModelError, match="ContainerPath"):
        build(workspace, spec, saved_adapter, tokenizer)
    assert not workspace.out.exists()


def test_equal_content_has_an_equal_digest_whatever_the_order_of_sets_and_keys(
    workspace: Workspace, spec: RunSpec, saved_adapter: Path, tokenizer: Any, tmp_path: Path
) -> None:
    first = build(workspace, spec, saved_adapter, tokenizer)
    shuffled = copy_folder(saved_adapter, tmp_path / "shuffled")
    config = json.loads((shuffled / "adapter_config.json").read_text())
    config["target_modules"] = config["target_modules"][::-1]
    (shuffled / "adapter_config.json").write_text(json.dumps(dict(reversed(config.items()))))
    os.utime(shuffled / "adapter_model.safetensors", (1, 1))
    second = build(Workspace(tmp_path / "elsewhere"), spec, shuffled, tokenizer)
    assert first.digest == second.digest


def test_one_changed_byte_of_the_weights_changes_the_digest(
    workspace: Workspace, spec: RunSpec, saved_adapter: Path, tokenizer: Any
) -> None:
    before = build(workspace, spec, saved_adapter, tokenizer).digest
    weights = saved_adapter / "adapter_model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    assert build(workspace, spec, saved_adapter, tokenizer).digest != before


@pytest.mark.parametrize("suffix", sorted(PICKLE_SUFFIXES))
def test_a_pickle_is_refused_by_name(workspace: Workspace, spec: RunSpec, saved_adapter: Path, tokenizer: Any, suffix: str) -> None:
    (saved_adapter / f"training_args{suffix}").write_bytes(b"\x80\x04")
    with pytest.raises(ModelError, match=f"training_args{suffix}"):
        build(workspace, spec, saved_adapter, tokenizer)


@pytest.mark.parametrize("keep", [0, 8, 500])
def test_torn_weights_are_refused(workspace: Workspace, spec: RunSpec, saved_adapter: Path, tokenizer: Any, keep: int) -> None:
    weights = saved_adapter / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:keep])
    with pytest.raises(ModelError, match="WeightsDamaged"):
        build(workspace, spec, saved_adapter, tokenizer)


def test_a_folder_without_weights_is_refused(workspace: Workspace, spec: RunSpec, saved_adapter: Path, tokenizer: Any) -> None:
    (saved_adapter / "adapter_model.safetensors").unlink()
    with pytest.raises(ModelError, match="WeightsMissing"):
        build(workspace, spec, saved_adapter, tokenizer)


def test_what_lay_in_out_before_is_gone(workspace: Workspace, spec: RunSpec, saved_adapter: Path, tokenizer: Any) -> None:
    workspace.out.mkdir(parents=True)
    (workspace.out / "model.safetensors").write_bytes(b"of an earlier attempt")
    artifact = build(workspace, spec, saved_adapter, tokenizer)
    assert not (workspace.out / "model.safetensors").exists()
    assert inspect(workspace.out) == artifact
    assert sorted(path.name for path in workspace.root.iterdir()) == ["data", "out", "out.meta"]


def test_the_template_contract_names_what_the_adapter_was_trained_with(
    workspace: Workspace, spec: RunSpec, saved_adapter: Path, tokenizer: Any
) -> None:
    build(workspace, spec, saved_adapter, tokenizer)
    facts = json.loads((workspace.out / "finetune.json").read_text())
    assert facts["base"] == {"uri": "pvc://models/tiny", "digest": BASE_DIGEST}
    assert facts["tuner"] == {"type": "LoRA", "rank": 4, "alpha": 8}
    assert facts["template"]["stopTokens"] == ["<|im_end|>"]
    assert facts["template"]["stopTokenIds"] == [tokenizer.eos_token_id]
    assert facts["template"]["specialTokens"]["eos_token"] == "<|im_end|>"


def test_stop_tokens_of_the_bases_own_generation_config_belong_to_the_contract(
    workspace: Workspace, spec: RunSpec, saved_adapter: Path, tokenizer: Any, tiny_base: Path, tmp_path: Path
) -> None:
    base = copy_folder(tiny_base, tmp_path / "base")
    (base / "generation_config.json").write_text(json.dumps({"eos_token_id": [tokenizer.eos_token_id, tokenizer.bos_token_id]}))
    moved = spec.model_copy(update={"base_model": spec.base_model.model_copy(update={"path": str(base)})})
    build(workspace, moved, saved_adapter, tokenizer)
    facts = json.loads((workspace.out / "finetune.json").read_text())
    assert facts["template"]["stopTokens"] == ["<|endoftext|>", "<|im_end|>"]


def test_another_chat_template_is_another_contract(
    workspace: Workspace, spec: RunSpec, saved_adapter: Path, tokenizer: Any, tiny_base: Path, tmp_path: Path
) -> None:
    build(workspace, spec, saved_adapter, tokenizer)
    before = json.loads((workspace.out / "finetune.json").read_text())["template"]
    base = copy_folder(tiny_base, tmp_path / "base")
    (base / "chat_template.jinja").write_text("{{ messages[0]['content'] }}")
    moved = spec.model_copy(update={"base_model": spec.base_model.model_copy(update={"path": str(base)})})
    build(workspace, moved, saved_adapter, AutoTokenizer.from_pretrained(base))
    after = json.loads((workspace.out / "finetune.json").read_text())["template"]
    assert before["chatTemplateDigest"] != after["chatTemplateDigest"]
    assert before["tokenizerDigest"] != after["tokenizerDigest"]


def test_the_reports_on_the_data_and_versions_stay_beside_the_artifact(
    workspace: Workspace, spec: RunSpec, saved_adapter: Path, tokenizer: Any
) -> None:
    scanned = ScanReport.of([Scanner("dataset", rows=40)])
    workspace.data_scan.write_text(scanned.to_json())
    build(workspace, spec, saved_adapter, tokenizer)
    assert json.loads((workspace.out_meta / "data-report.json").read_text()) == {"rows": 40}
    assert file_digest(workspace.out_meta / SCAN_REPORT) == scanned.summary().report_digest
    assert {"torch", "transformers", "peft"} <= set(json.loads((workspace.out_meta / "versions.json").read_text()))


def test_what_it_was_trained_with_has_no_say_in_the_digest(
    workspace: Workspace, spec: RunSpec, saved_adapter: Path, tokenizer: Any
) -> None:
    silent = build(workspace, spec, saved_adapter, tokenizer)
    resolved_run(spec).write(saved_adapter)
    assert build(workspace, spec, saved_adapter, tokenizer) == silent
    assert read_resolved(workspace.out_meta) == resolved_run(spec)


def test_a_full_model_keeps_its_config_and_loses_its_path(
    workspace: Workspace, run_spec: SpecMaker, tokenizer: Any, tiny_base: Path, tmp_path: Path
) -> None:
    saved = tmp_path / "full"
    AutoModelForCausalLM.from_pretrained(tiny_base).save_pretrained(saved)
    config = json.loads((saved / "config.json").read_text())
    (saved / "config.json").write_text(json.dumps({**config, "_name_or_path": str(tiny_base)}))
    artifact = build(workspace, run_spec(tuner={"type": "Full", "lora": None}), saved, tokenizer)
    assert {"config.json", "generation_config.json", "model.safetensors"} <= {file.name for file in artifact.files}
    assert "_name_or_path" not in json.loads((workspace.out / "config.json").read_text())
    assert json.loads((workspace.out / "finetune.json").read_text())["weights"] == "Model"


def test_the_artifact_reloads_with_the_logits_it_had(
    workspace: Workspace, spec: RunSpec, saved_adapter: Path, tokenizer: Any, tiny_base: Path
) -> None:
    build(workspace, spec, saved_adapter, tokenizer)
    served = AutoTokenizer.from_pretrained(workspace.out)
    inputs = served("the router shows error code 17", return_tensors="pt")
    with torch.no_grad():
        trained, found = (
            PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny_base, dtype=torch.float32), folder).eval()
            for folder in (saved_adapter, workspace.out)
        )
        wanted = trained(**inputs).logits
        with trained.disable_adapter():
            untuned = trained(**inputs).logits
        assert torch.equal(found(**inputs).logits, wanted)
    assert served.get_vocab() == tokenizer.get_vocab()
    assert not torch.allclose(untuned, wanted, atol=1e-2)
