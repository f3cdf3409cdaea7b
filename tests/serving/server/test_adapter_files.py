"""What is refused before a weight is loaded: with the file or field, the reason, the way out, and vLLM's status."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from finetune_inference.server.adapters import files, template
from finetune_inference.server.adapters.refusals import AdapterRefused
from finetune_inference.server.adapters.settings import REFUSED, refuse_unserved
from finetune_inference.server.adapters.tensors import read_tensors, refuse_unfit

LORA = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": 8, "bias": "none", "target_modules": ["q_proj"]}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / files.CONFIG).write_text(json.dumps(LORA))
    save_file({"a": torch.zeros(2)}, tmp_path / files.WEIGHTS)
    return tmp_path


def refused(path: Path | str) -> AdapterRefused:
    with pytest.raises(AdapterRefused) as caught:
        files.find(str(path))
    return caught.value


def test_a_folder_with_configuration_and_safetensors_is_found(folder: Path) -> None:
    assert files.find(str(folder)).config == LORA


@pytest.mark.parametrize("name", [files.CONFIG, files.WEIGHTS])
def test_a_missing_file_is_not_found(folder: Path, name: str) -> None:
    (folder / name).unlink()
    error = refused(folder)
    assert error.status == 404
    assert name in error.message


def test_a_missing_folder_is_not_found(folder: Path) -> None:
    assert refused(folder / "none").status == 404
    assert refused("some-org/some-adapter").status == 404


@pytest.mark.parametrize("name", ["adapter_model.bin", "deep/optimizer.PT", "x.pkl"])
def test_a_pickle_anywhere_is_refused_even_beside_safetensors(folder: Path, name: str) -> None:
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_bytes(b"\x80\x04.")
    error = refused(folder)
    assert error.status == 400
    assert "can run code" in error.message


def test_a_whole_model_is_told_how_it_is_served(folder: Path) -> None:
    (folder / files.WEIGHTS).rename(folder / "model.safetensors")
    (folder / "config.json").write_text("{}")
    assert "--model" in refused(folder).message


@pytest.mark.parametrize("text", ["{", "[]", '"LORA"'])
def test_a_configuration_that_is_no_object_is_refused(folder: Path, text: str) -> None:
    (folder / files.CONFIG).write_text(text)
    assert files.CONFIG in refused(folder).message


@pytest.mark.parametrize("kind", ["LORA", "IA3", "PROMPT_TUNING", "P_TUNING", "PREFIX_TUNING"])
def test_the_tuner_types_that_are_served(kind: str) -> None:
    refuse_unserved({**LORA, "peft_type": kind}, 8, 8)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"peft_type": "LOHA"}, "peft_type"),
        ({"peft_type": None}, "peft_type"),
        ({"task_type": "SEQ_CLS"}, "task_type"),
        ({"r": 9}, "r:"),
        ({"rank_pattern": {"q_proj": 64}}, "r:"),
        ({"bias": "all"}, "bias"),
        ({"peft_type": "PROMPT_TUNING", "num_virtual_tokens": 100}, "num_virtual_tokens"),
        *(({name: ["something"]}, name) for name in REFUSED),
    ],
)
def test_a_setting_that_cannot_be_served_is_refused_by_name(change: dict[str, Any], field: str) -> None:
    with pytest.raises(AdapterRefused, match=field):
        refuse_unserved({**LORA, **change}, 8, 64)


def test_a_damaged_file_and_values_that_are_no_numbers_are_refused(folder: Path) -> None:
    save_file({"a": torch.tensor([1.0, float("nan")])}, folder / files.WEIGHTS)
    with pytest.raises(AdapterRefused, match="a holds values"):
        read_tensors(folder / files.WEIGHTS)
    (folder / files.WEIGHTS).write_bytes(b"12345678not a header")
    with pytest.raises(AdapterRefused, match="not a whole safetensors file"):
        read_tensors(folder / files.WEIGHTS)


def test_tensors_must_be_those_that_are_asked_for() -> None:
    two, three = torch.zeros(2), torch.zeros(3)
    refuse_unfit({"a": two}, {"a": two})
    for expected, found, words in (
        ({}, {"a": two}, "has none of these layers"),
        ({"a": two, "b": two}, {"a": two}, "lacks b"),
        ({"a": two}, {"a": two, "c": two}, "has c"),
        ({"a": two}, {"a": three}, r"a is \(3,\)"),
    ):
        with pytest.raises(AdapterRefused, match=words):
            refuse_unfit(expected, found)


class TestTemplateContract:
    """The tokenizer and template that an adapter was trained with."""

    @pytest.fixture
    def base(self, tmp_path: Path) -> Path:
        base = tmp_path / "base"
        base.mkdir()
        (base / "tokenizer.json").write_text("{}")
        (base / "config.json").write_text("{}")
        return base

    def facts(self, folder: Path, served: template.Served, **changes: Any) -> Path:
        contract = {
            "tokenizerDigest": served.tokenizer_digest,
            "chatTemplateDigest": served.chat_template_digest,
            "vocabulary": 10,
            "specialTokens": {},
            "stopTokens": ["</s>"],
            "stopTokenIds": [3],
            **changes,
        }
        (folder / template.CONTRACT_FILE).write_text(json.dumps({"weights": "Adapter", "template": contract, "stage": "SFT"}))
        return folder

    def test_equal_digests_give_the_stop_tokens(self, base: Path, folder: Path) -> None:
        served = template.served(base, "{{ messages }}", 10)
        assert template.stop_tokens(self.facts(folder, served), served) == (3,)

    def test_an_adapter_without_a_contract_is_taken_as_it_is(self, base: Path, folder: Path) -> None:
        assert template.stop_tokens(folder, template.served(base, None, 10)) == ()

    @pytest.mark.parametrize(
        ("changes", "field"),
        [
            ({"tokenizerDigest": "sha256:" + "0" * 64}, "template.tokenizerDigest"),
            ({"chatTemplateDigest": "sha256:" + "0" * 64}, "template.chatTemplateDigest"),
            ({"chatTemplateDigest": None}, "template.chatTemplateDigest"),
            ({"stopTokenIds": [10]}, "template.stopTokenIds"),
            ({"tokenizerDigest": "md5:0"}, "cannot be read: template.tokenizerDigest: String should match"),
        ],
    )
    def test_anything_else_is_refused_by_field(self, base: Path, folder: Path, changes: dict[str, Any], field: str) -> None:
        served = template.served(base, "{{ messages }}", 10)
        with pytest.raises(AdapterRefused, match=field):
            template.stop_tokens(self.facts(folder, served, **changes), served)

    def test_what_is_no_json_is_refused_in_a_sentence(self, base: Path, folder: Path) -> None:
        (folder / "finetune.json").write_text("{")
        with pytest.raises(AdapterRefused, match=r"finetune\.json cannot be read: it is not JSON; publish the adapter again"):
            template.stop_tokens(folder, template.served(base, None, 10))

    def test_other_files_of_the_base_do_not_count(self, base: Path) -> None:
        before = template.served(base, None, 10).tokenizer_digest
        (base / "config.json").write_text('{"a": 1}')
        assert template.served(base, None, 10).tokenizer_digest == before
        (base / "tokenizer_config.json").write_text("{}")
        assert template.served(base, None, 10).tokenizer_digest != before
