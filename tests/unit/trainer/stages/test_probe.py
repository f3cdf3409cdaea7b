"""The logit probe: the same whenever it is taken, free of any row, and able to tell a reloaded model from another one."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

from finetune_trainer.pod.errors import ModelError
from finetune_trainer.stages.probe import (
    COLUMNS,
    LENGTH,
    PROBE_FILE,
    SEQUENCES,
    TOLERANCE,
    LogitProbe,
    compare_with_probe,
    read_probe,
    take_probe,
)


@pytest.fixture(scope="module")
def tokenizer(tiny_base: Path) -> Any:
    return AutoTokenizer.from_pretrained(tiny_base)


@pytest.fixture
def adapted(tiny_base: Path) -> PeftModel:
    """A base with an adapter that changes its answers, in training mode and with dropout."""
    torch.manual_seed(3)
    config = LoraConfig(r=4, lora_alpha=8, lora_dropout=0.5, target_modules=["q_proj", "down_proj"], task_type="CAUSAL_LM")
    model = get_peft_model(base_model(tiny_base), config)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.05)
    return model.train()


def base_model(folder: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)


def test_a_probe_holds_a_few_ordinary_tokens_and_a_bounded_number_of_logits(adapted: PeftModel, tokenizer: Any, tmp_path: Path) -> None:
    probe = take_probe(adapted, tokenizer)
    assert [len(row) for row in probe.tokens] == [LENGTH] * SEQUENCES
    assert len({tuple(row) for row in probe.tokens}) == SEQUENCES
    assert not {token for row in probe.tokens for token in row} & set(tokenizer.all_special_ids)
    assert len(probe.columns) <= COLUMNS
    assert (probe.columns[0], probe.columns[-1] > len(tokenizer) - 10) == (0, True)
    assert [len(row) for row in probe.logits] == [len(probe.columns)] * SEQUENCES
    probe.write(tmp_path)
    assert (tmp_path / PROBE_FILE).stat().st_size < 32 << 10


def test_a_large_vocabulary_makes_no_larger_probe(tokenizer: Any) -> None:
    class Wide(torch.nn.Module):
        """Answers with the number of the token in every column."""

        device = torch.device("cpu")

        def get_input_embeddings(self) -> Any:
            return torch.nn.Embedding(150_001, 1)

        def forward(self, input_ids: torch.Tensor, **_: Any) -> Any:
            logits = torch.arange(150_001.0).expand(*input_ids.shape, -1)
            return type("Output", (), {"logits": logits})

    class Many:
        all_special_ids = (0, 149_999)

        def __len__(self) -> int:
            return 150_000

    probe = take_probe(Wide(), Many())
    assert len(probe.columns) <= COLUMNS
    assert probe.columns[-1] > 149_000
    assert probe.logits == [[float(column) for column in probe.columns]] * SEQUENCES


def test_dropout_takes_no_part_and_the_mode_is_as_it_was(adapted: PeftModel, tokenizer: Any) -> None:
    assert take_probe(adapted, tokenizer) == take_probe(adapted, tokenizer)
    assert adapted.training
    adapted.eval()
    take_probe(adapted, tokenizer)
    assert not adapted.training


def test_saved_weights_loaded_again_leave_no_difference(adapted: PeftModel, tokenizer: Any, tiny_base: Path, tmp_path: Path) -> None:
    take_probe(adapted, tokenizer).write(tmp_path)
    adapted.save_pretrained(tmp_path / "saved")
    reloaded = PeftModel.from_pretrained(base_model(tiny_base), tmp_path / "saved")
    compared = compare_with_probe(reloaded, read_probe(tmp_path))
    assert compared.difference == 0
    compared.write(tmp_path)
    assert read_probe(tmp_path) == compared


@pytest.mark.parametrize("damage", ["absent", "scaled", "one layer missing", "rounded"])
def test_another_model_is_refused_with_the_difference(damage: str, adapted: PeftModel, tokenizer: Any, tiny_base: Path) -> None:
    probe = take_probe(adapted, tokenizer)
    learned = [parameter for name, parameter in adapted.named_parameters() if "lora_B" in name]
    with torch.no_grad():
        if damage == "scaled":
            for parameter in learned:
                parameter.mul_(1.01)
        elif damage == "one layer missing":
            learned[0].zero_()
        elif damage == "rounded":
            for parameter in learned:
                parameter.copy_(parameter.bfloat16())
    with pytest.raises(ModelError, match=r"ReloadDiffers: .* a logit differs by [0-9.]+, allowed is 0\.0001") as refused:
        compare_with_probe(base_model(tiny_base) if damage == "absent" else adapted, probe)
    assert "Nothing is published" in refused.value.hint


def test_a_difference_within_the_tolerance_is_reported_and_accepted(adapted: PeftModel, tokenizer: Any) -> None:
    probe = take_probe(adapted, tokenizer)
    logits = [list(row) for row in probe.logits]
    logits[2][5] = (logits[2][5] or 0.0) + 5e-5
    found = compare_with_probe(adapted, probe.model_copy(update={"logits": logits}))
    assert found.difference == pytest.approx(5e-5, rel=0.02)


def test_half_precision_is_allowed_its_rounding_steps_and_no_more(adapted: PeftModel, tokenizer: Any, tiny_base: Path) -> None:
    exact, rounded = take_probe(adapted, tokenizer), take_probe(adapted.bfloat16(), tokenizer)
    largest = max(abs(value or 0.0) for row in rounded.logits for value in row)
    assert exact.tolerance == TOLERANCE
    assert TOLERANCE < rounded.tolerance < 0.05 * largest
    with pytest.raises(ModelError, match="ReloadDiffers"):
        compare_with_probe(base_model(tiny_base).bfloat16(), rounded)


def test_numbers_that_are_none_are_kept_and_told_from_numbers(adapted: PeftModel, tokenizer: Any, tmp_path: Path) -> None:
    """The last step of a training can still spoil the weights; the gate judges that, not the reload."""
    sound = take_probe(adapted, tokenizer)
    with torch.no_grad():
        next(adapted.parameters()).fill_(float("nan"))
    spoilt = take_probe(adapted, tokenizer)
    spoilt.write(tmp_path)
    assert {value for row in read_probe(tmp_path).logits for value in row} == {None}
    assert compare_with_probe(adapted, read_probe(tmp_path)).difference == 0
    with pytest.raises(ModelError, match="ReloadDiffers"):
        compare_with_probe(adapted, sound)


@pytest.mark.parametrize("spoil", [Path.unlink, lambda path: path.write_text(path.read_text()[:-40])], ids=["missing", "cut off"])
def test_without_a_whole_probe_nothing_is_accepted(
    spoil: Callable[[Path], Any], adapted: PeftModel, tokenizer: Any, tmp_path: Path
) -> None:
    take_probe(adapted, tokenizer).write(tmp_path)
    spoil(tmp_path / PROBE_FILE)
    with pytest.raises(ModelError, match="ProbeMissing"):
        read_probe(tmp_path)


def test_a_probe_of_another_kind_of_document_is_none() -> None:
    with pytest.raises(ValueError, match="kind"):
        LogitProbe(kind="StepResult", tokens=[[1]], columns=[1], logits=[[0.0]], tolerance=1e-4)
