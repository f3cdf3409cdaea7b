"""What the trainer's step costs beyond a bare PyTorch loop.

Both loops live in one process, on one thread, and take turns: five steps of the trainer (the real one, with progress, divergence check and
all), then five bare steps on a copy of the model with the very same examples. Bare means: the same collation, AdamW, clipping, schedule and
a loss read at every step, and nothing else. Compared is processor time, because the machine may be shared.
"""

import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from tests.performance.report import Limit, Section

LIMIT = 1.10
SEGMENT = 5
PAIRS = 11
BATCH = 16
SHAPE = {"hidden_size": 192, "intermediate_size": 512, "num_hidden_layers": 4, "num_attention_heads": 6, "num_key_value_heads": 2}
VOCABULARY = 1185


def run(full: bool) -> Section:
    """Compare for all weights and for an adapter; ``full`` doubles the pairs."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    pairs = 2 * PAIRS if full else PAIRS
    measured = {tuner: measure(tuner, pairs) for tuner in ("Full", "LoRA")}
    return Section(
        title="Training step against a bare PyTorch loop",
        flags=f"Llama of 2 M parameters, {BATCH} rows a step, fp32, one thread, {pairs} interleaved pairs of {SEGMENT} steps; medians",
        columns=("tuner", "bare ms", "trainer ms", "ratio (processor)", "ratio (wall)"),
        rows=tuple(
            (tuner, f"{m.bare_ms:.0f}", f"{m.trainer_ms:.0f}", f"{m.ratio:.3f}", f"{m.wall_ratio:.3f}") for tuner, m in measured.items()
        ),
        limits=tuple(Limit(f"{tuner}: step over bare step", m.ratio, LIMIT) for tuner, m in measured.items()),
    )


@dataclass
class Measured:
    """Processor and wall seconds per segment, in pairs."""

    trainer: list[tuple[float, float]] = field(default_factory=list)
    bare: list[tuple[float, float]] = field(default_factory=list)

    @property
    def ratio(self) -> float:
        return median(t[0] / b[0] for t, b in zip(self.trainer, self.bare, strict=True))

    @property
    def wall_ratio(self) -> float:
        return median(t[1] / b[1] for t, b in zip(self.trainer, self.bare, strict=True))

    @property
    def bare_ms(self) -> float:
        return 1000 * median(b[0] for b in self.bare) / SEGMENT

    @property
    def trainer_ms(self) -> float:
        return 1000 * median(t[0] for t in self.trainer) / SEGMENT


def measure(tuner: str, pairs: int) -> Measured:
    """Run both loops and return their times; the first pair warms up and does not count."""
    import torch

    from finetune_trainer.contract import RunSpec
    from finetune_trainer.pod.context import Evidence
    from finetune_trainer.pod.events import EventLog
    from finetune_trainer.pod.progress import ProgressState
    from finetune_trainer.pod.workspace import Workspace
    from finetune_trainer.stages.checkpoints import CheckpointFolder
    from finetune_trainer.stages.model import load_for_training
    from finetune_trainer.stages.processes import Process
    from finetune_trainer.stages.reporting import Reporter
    from finetune_trainer.stages.rows import PaddedBatches
    from finetune_trainer.stages.stage import StageMethod
    from finetune_trainer.stages.training import Training, train
    from tests.process.training.conftest import write_rows

    torch.set_num_threads(1)
    steps = SEGMENT * (pairs + 1)
    with tempfile.TemporaryDirectory(prefix="step-overhead-") as name, Path(os.devnull).open("w") as silent:
        folder = Path(name)
        base = build_base(folder / "base")
        workspace = Workspace(folder / "work")
        write_rows(workspace.train_rows, BATCH * steps, seed=1, longest=160)
        spec = RunSpec.model_validate(document(tuner, base, steps))
        eaten: list[Any] = []
        collate = PaddedBatches(0)

        def remembering(rows: list[Any]) -> Any:
            eaten.append(rows)
            return collate(rows)

        bare = BareLoop(load_for_training(spec, base, "cpu", _precision()), collate, steps)
        taking_turns = TakingTurns(
            Reporter(ProgressState("a" * 64), EventLog(1, silent.fileno()), Evidence()), lambda batch: bare.step(eaten[batch])
        )
        training = Training(
            spec=spec,
            workspace=workspace,
            stage=StageMethod("SFT", lambda *_: remembering),
            checkpoints=CheckpointFolder(workspace.checkpoints, {}, 1),
            process=Process(),
            micro_batch_size=BATCH,
            listener=taking_turns,  # type: ignore[arg-type]
            stop_requested=lambda: False,
        )
        train(training, None)
    return taking_turns.measured


class TakingTurns:
    """Listens to the trainer; after each segment of its steps it lets the bare loop take as many."""

    def __init__(self, reporter: Any, bare_step: Callable[[int], None]) -> None:
        self._reporter = reporter
        self._bare_step = bare_step
        self._began = _now()
        self.measured = Measured()

    def planned(self, *arguments: Any, **words: Any) -> None:
        self._reporter.planned(*arguments, **words)

    def looked(self, totals: Any) -> None:
        self._reporter.looked(totals)

    def sealed(self, checkpoint: Any) -> None:
        self._reporter.sealed(checkpoint)

    def stepped(self, totals: Any, **numbers: Any) -> None:
        self._reporter.stepped(totals, **numbers)
        if totals.step % SEGMENT:
            return
        trainer = _since(self._began)
        began = _now()
        for batch in range(totals.step - SEGMENT, totals.step):
            self._bare_step(batch)
        if totals.step > SEGMENT:
            self.measured.trainer.append(trainer)
            self.measured.bare.append(_since(began))
        self._began = _now()


class BareLoop:
    """The least that trains."""

    def __init__(self, model: Any, collate: Callable[[Any], Any], steps: int) -> None:
        import torch
        from transformers import get_cosine_schedule_with_warmup

        self._model = model.train()
        self._collate = collate
        self._learned = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self._optimizer = torch.optim.AdamW(self._learned, lr=1e-3, weight_decay=0.0)
        self._schedule = get_cosine_schedule_with_warmup(self._optimizer, 3, steps)
        self._clip = torch.nn.utils.clip_grad_norm_

    def step(self, rows: Any) -> None:
        loss = self._model(**self._collate(rows), use_cache=False).loss
        loss.backward()
        norm = self._clip(self._learned, 1.0)
        self._optimizer.step()
        self._schedule.step()
        self._optimizer.zero_grad(set_to_none=True)
        assert loss.item() > 0
        assert norm.item() >= 0


def _now() -> tuple[float, float]:
    return time.process_time(), time.perf_counter()


def _since(began: tuple[float, float]) -> tuple[float, float]:
    processor, wall = _now()
    return processor - began[0], wall - began[1]


def _precision() -> Any:
    from finetune_trainer.contract import Precision

    return Precision.FP32


def document(tuner: str, base: Path, steps: int) -> dict[str, Any]:
    return {
        "run": {"key": "a" * 64, "name": "bench", "number": 1, "job_namespace": "ns", "job_name": "bench", "job_uid": "u"},
        "base_model": {"uri": "pvc://models/bench", "path": str(base)},
        "dataset": {"uri": "pvc://data/bench", "path": str(base)},
        "tuner": {"type": tuner, **({} if tuner == "Full" else {"lora": {"rank": 16, "alpha": 32}})},
        "training": {"max_steps": steps, "batch_size": BATCH, "micro_batch_size": BATCH, "learning_rate": "1e-3"},
        "checkpoint": {"every_seconds": 100000},
        "artifact": {"uri": "pvc://adapters/bench", "path": str(base)},
    }


def build_base(folder: Path) -> Path:
    import torch
    from tokenizers import Tokenizer, models
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    torch.manual_seed(0)
    LlamaForCausalLM(LlamaConfig(vocab_size=VOCABULARY, tie_word_embeddings=True, max_position_embeddings=512, **SHAPE)).save_pretrained(
        folder
    )
    words = Tokenizer(models.WordLevel({f"t{number}": number for number in range(VOCABULARY)}, unk_token="t0"))
    PreTrainedTokenizerFast(tokenizer_object=words, pad_token="t0", eos_token="t1", unk_token="t0").save_pretrained(folder)
    return folder
