"""``resolved.json``: what a run really trained with, every default filled in, for whoever wants to repeat or to doubt it.

The run spec says what somebody asked for and leaves the rest to defaults that change from release to release. The train step writes this
beside the trained weights and seals it with them; it is published next to the artifact and never enters its digest.
"""

from pathlib import Path

from pydantic import Field, ValidationError

from finetune_trainer.contract import Decimal, Document, Precision, RunSpec, Tuner
from finetune_trainer.contract.base import Named
from finetune_trainer.pod.sealing import write_sealed

RESOLVED_FILE = "resolved.json"


class ResolvedTraining(Document):
    """An optimizer step takes ``micro_batch_size`` times ``accumulation`` times ``processes`` examples; ``epochs`` are planned passes."""

    learning_rate: Decimal
    scheduler: str
    warmup_steps: int = Field(ge=0)
    total_steps: int = Field(ge=1)
    steps_per_epoch: int = Field(ge=1)
    epochs: Decimal
    batch_size: int = Field(ge=1)
    micro_batch_size: int = Field(ge=1)
    accumulation: int = Field(ge=1)
    processes: int = Field(ge=1)
    device: str
    precision: Precision
    optimizer: str
    adam_beta1: Decimal
    adam_beta2: Decimal
    adam_epsilon: Decimal
    weight_decay: Decimal
    max_gradient_norm: Decimal
    seed: int
    evaluate_every_steps: int | None = None


class ResolvedRun(Named):
    """``fingerprint`` is what a checkpoint must share with the run that resumes it; ``spec`` is the whole run spec with its defaults."""

    kind: str = Field(default="ResolvedRun", pattern="^ResolvedRun$")
    training: ResolvedTraining
    tuner: Tuner
    fingerprint: dict[str, str]
    versions: dict[str, str]
    spec: RunSpec

    def write(self, folder: Path) -> None:
        write_sealed(folder / RESOLVED_FILE, self.to_json() + "\n")


def read_resolved(folder: Path) -> ResolvedRun | None:
    """What ``folder`` says; None where an older trainer said nothing."""
    try:
        return ResolvedRun.from_json((folder / RESOLVED_FILE).read_bytes())
    except (FileNotFoundError, ValidationError):
        return None
