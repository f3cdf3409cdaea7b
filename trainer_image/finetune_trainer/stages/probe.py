"""The logits of the trained model for a few fixed token sequences: the evidence that its artifact, loaded again, is that very model.

Weights can be whole and the reloaded model still another one: a module that was trained and not saved, a scale that the saved config does
not carry, a rounded adapter. The sequences follow from the vocabulary alone, so the probe holds nothing of any row.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from peft import PeftModel
from pydantic import Field, ValidationError
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from finetune_trainer.contract.base import Named
from finetune_trainer.pod.errors import ModelError
from finetune_trainer.pod.sealing import write_sealed

PROBE_FILE = "logit-probe.json"
SEQUENCES, LENGTH, COLUMNS = 4, 16, 256
TOLERANCE = 1e-4
"""Largest difference of a float32 logit; weights that were saved and loaded without loss leave none at all on one machine."""

_ROUNDING_STEPS = 4
"""In half precision one differently chosen kernel moves a logit by rounding steps far above any fixed tolerance."""


class LogitProbe(Named):
    """``logits[s][c]``: of the token ``columns[c]`` after the sequence ``tokens[s]``, as float32; None where it is no finite number.

    ``difference`` is the largest one that was found when the artifact was loaded again; a probe without it was not compared yet.
    """

    kind: str = Field(default="LogitProbe", pattern="^LogitProbe$")
    tokens: list[list[int]] = Field(min_length=1)
    columns: list[int] = Field(min_length=1)
    logits: list[list[float | None]] = Field(min_length=1)
    tolerance: float = Field(gt=0)
    difference: float | None = None

    def write(self, folder: Path) -> None:
        write_sealed(folder / PROBE_FILE, self.to_json() + "\n")


@dataclass(frozen=True)
class _Answer:
    """``logits`` has the shape (sequences, columns) and is float32; ``step`` is one rounding step of the largest of them as computed."""

    logits: torch.Tensor
    step: float


def take_probe(model: PreTrainedModel | PeftModel, tokenizer: PreTrainedTokenizerBase) -> LogitProbe:
    """Probe the model as it is in memory, without dropout; afterwards it is in the mode it was in."""
    vocabulary = min(len(tokenizer), int(model.get_input_embeddings().weight.shape[0]))
    tokens = _sequences(sorted(set(range(vocabulary)) - set(tokenizer.all_special_ids)))
    columns = list(range(0, vocabulary, math.ceil(vocabulary / COLUMNS)))
    answer = _answer(model, tokens, columns)
    return LogitProbe(
        tokens=tokens,
        columns=columns,
        logits=[[_float32(value) for value in row] for row in answer.logits.tolist()],
        tolerance=max(TOLERANCE, _ROUNDING_STEPS * answer.step),
    )


def read_probe(folder: Path) -> LogitProbe:
    """The probe in ``folder``; raises ``ModelError`` where there is none: without it nobody knows what the artifact should answer."""
    try:
        return LogitProbe.from_json((folder / PROBE_FILE).read_bytes())
    except (FileNotFoundError, ValidationError) as error:
        raise ModelError(
            "ProbeMissing",
            f"{folder.name} holds no readable {PROBE_FILE}: what was trained cannot be compared with what is published",
            "Another version of the trainer sealed it. Ask for a new run with spec.rerun.",
        ) from error


def compare_with_probe(model: PreTrainedModel | PeftModel, probe: LogitProbe) -> LogitProbe:
    """The probe with the measured ``difference``; raises ``ModelError`` if ``model`` answers otherwise than the trained one did."""
    difference = difference_from(model, probe)
    if not difference <= probe.tolerance:
        raise ModelError(
            "ReloadDiffers",
            f"the artifact, loaded again, is another model than the trained one: a logit differs by {difference:.3g},"
            f" allowed is {probe.tolerance:.3g}",
            "This is a defect of the trainer or of a library under it: report it with the spec and the versions. Nothing is published.",
        )
    return probe.model_copy(update={"difference": difference})


def difference_from(model: PreTrainedModel | PeftModel, probe: LogitProbe) -> float:
    """The largest difference of a logit between ``model`` and the probed one; not a number where only one of them answers with one."""
    wanted = torch.tensor([[math.nan if value is None else value for value in row] for row in probe.logits])
    return _largest_difference(wanted, _answer(model, probe.tokens, probe.columns).logits)


def _sequences(ordinary: Sequence[int]) -> list[list[int]]:
    """Token ids spread over the ones that are not special, each sequence with a stride of its own."""
    return [
        [ordinary[(1 + number + (7919 * number + 104_729) * place) % len(ordinary)] for place in range(LENGTH)]
        for number in range(SEQUENCES)
    ]


def _answer(model: PreTrainedModel | PeftModel, tokens: Sequence[Sequence[int]], columns: Sequence[int]) -> _Answer:
    training = model.training
    model.eval()
    try:
        ids = torch.tensor(tokens, device=model.device)
        with torch.no_grad():
            last = model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False).logits[:, -1, columns]
    finally:
        model.train(training)
    largest = float(last.abs().nan_to_num(0.0, 0.0, 0.0).max())
    return _Answer(last.float().cpu(), torch.finfo(last.dtype).eps * largest)


def _float32(value: float) -> float | None:
    """Nine significant digits tell any two float32 numbers apart."""
    return float(f"{value:.9g}") if math.isfinite(value) else None


def _largest_difference(wanted: torch.Tensor, found: torch.Tensor) -> float:
    """Not a number where only one side is: no comparison with a limit then holds."""
    equal = (wanted == found) | (~wanted.isfinite() & ~found.isfinite())
    return float(torch.where(equal, 0.0, (wanted - found).abs()).max())
