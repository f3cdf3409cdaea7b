"""Sealed rows as the prepare step leaves them, and a training on them in this process."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

from finetune_trainer.contract import RunSpec
from finetune_trainer.pod.resolved import ResolvedRun
from finetune_trainer.pod.workspace import Workspace
from finetune_trainer.stages.checkpoints import Checkpoint, CheckpointFolder
from finetune_trainer.stages.schedule import Schedule
from finetune_trainer.stages.totals import Totals


def write_rows(path: Path, count: int, seed: int, longest: int = 40) -> None:
    """Rows of a small language: each token is the one before plus a step that the row keeps, so that there is something to learn."""
    rng = random.Random(seed)
    ids, masks = [], []
    for _ in range(count):
        length, step, start = rng.randint(12, longest), rng.randint(1, 3), rng.randint(10, 400)
        row = [10 + (start + step * position) % 500 for position in range(length)]
        ids.append(row)
        masks.append([0] * 4 + [1] * (length - 4))
    columns = {
        "input_ids": pa.array(ids, pa.list_(pa.int32())),
        "loss_mask": pa.array(masks, pa.list_(pa.int8())),
        "row": pa.array(range(count), pa.int64()),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(pa.table(columns), path)


class Recorder:
    """Hears everything and forgets nothing."""

    def __init__(self) -> None:
        self.losses: list[float] = []
        self.norms: list[float | None] = []
        self.looks: list[float] = []
        self.checkpoints: list[Checkpoint] = []
        self.schedule: Schedule | None = None
        self.trainable = 0
        self.settings: ResolvedRun | None = None
        self.totals = Totals()
        self.after_step: Callable[[Totals], None] = lambda totals: None

    def resolved(self, run: ResolvedRun) -> None:
        self.settings = run

    def planned(self, schedule: Schedule, totals: Totals, *, trainable: int, parameters: int) -> None:
        self.schedule, self.trainable = schedule, trainable

    def stepped(self, totals: Totals, *, learning_rate: float, gradient_norm: float | None, seconds: float) -> None:
        self.losses.append(totals.recent_losses[-1])
        self.norms.append(gradient_norm)
        self.totals = totals
        self.after_step(totals)

    def looked(self, totals: Totals) -> None:
        assert totals.evaluation_loss is not None
        self.looks.append(totals.evaluation_loss)

    def sealed(self, checkpoint: Checkpoint) -> None:
        self.checkpoints.append(checkpoint)


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """A work folder with 48 rows to train on and 12 held out."""
    made = Workspace(tmp_path / "work")
    write_rows(made.train_rows, 48, seed=1)
    write_rows(made.validation_rows, 12, seed=2)
    return made


@pytest.fixture
def training(workspace: Workspace, recorder: Recorder) -> Callable[..., Any]:
    """Make a ``Training`` of a run spec; keyword arguments replace its parts."""
    from finetune_trainer.contract import Stage
    from finetune_trainer.stages.continued_pretraining import CONTINUED_PRETRAINING
    from finetune_trainer.stages.fingerprint import fingerprint
    from finetune_trainer.stages.processes import Process
    from finetune_trainer.stages.sft import SFT
    from finetune_trainer.stages.training import Training

    def make(spec: RunSpec, **parts: Any) -> Training:
        place = parts.pop("workspace", workspace)
        print_of = fingerprint(spec, data_digest="sha256:d", base_digest="sha256:b", device="cpu", processes=1)
        defaults = {
            "stage": SFT if spec.stage is Stage.SFT else CONTINUED_PRETRAINING,
            "checkpoints": CheckpointFolder(place.checkpoints, print_of, spec.checkpoint.keep),
            "process": Process(),
            "micro_batch_size": spec.training.micro_batch_size or 2,
            "listener": recorder,
            "stop_requested": lambda: False,
        }
        return Training(spec=spec, workspace=place, **{**defaults, **parts})

    return make
