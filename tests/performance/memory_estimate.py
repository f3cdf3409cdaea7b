"""Is the memory estimate true? Trains real models of random weights in fresh processes and compares the growth of ``RssAnon``.

    python -m tests.performance.memory_estimate            # the whole table, at least 80 million parameters each; about 15 minutes
    python -m tests.performance.memory_estimate --small    # four small cases, under a minute
    python -m tests.performance.memory_estimate --only LoRA-wide-4x256

A process imports everything, notes its anonymous memory, loads a model of random weights from a folder as the train step does, takes two
steps and reports the highest anonymous memory a sampling thread saw. Nothing is downloaded.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from tests.performance.report import Limit, Section

TOLERANCE = 0.15


@dataclass(frozen=True)
class Dimensions:
    hidden: int
    intermediate: int
    layers: int
    heads: int
    kv_heads: int
    vocabulary: int
    tied: bool = False


MODELS = {
    "wide": Dimensions(768, 2304, 10, 12, 4, 8192),
    "deep": Dimensions(576, 1536, 24, 9, 3, 16384, tied=True),
    "vocabulary": Dimensions(768, 2048, 8, 12, 12, 32768, tied=True),
    "small": Dimensions(384, 1024, 6, 6, 2, 8192),
}


@dataclass(frozen=True)
class Case:
    tuner: str
    model: str
    rows: int
    length: int
    checkpointing: bool = False
    rank: int = 16
    dropout: str = "0"
    padded: bool = False
    """Rows of different lengths, as supervised tuning has them; else equal ones, as packed raw text has them."""

    @property
    def name(self) -> str:
        return (
            f"{self.tuner}-{self.model}-{self.rows}x{self.length}"
            + ("-checkpointing" if self.checkpointing else "")
            + ("-dropout" if self.dropout != "0" else "")
            + ("-padded" if self.padded else "")
        )


CASES = [
    *(Case(tuner, "wide", 4, 256) for tuner in ("Full", "LoRA", "QLoRA", "DoRA", "RSLoRA")),
    *(Case(tuner, "wide", 4, 384, checkpointing=True) for tuner in ("Full", "LoRA", "QLoRA", "DoRA", "RSLoRA")),
    *(Case(tuner, "deep", 2, 384) for tuner in ("Full", "LoRA", "QLoRA", "DoRA", "RSLoRA")),
    *(Case(tuner, "vocabulary", 4, 256) for tuner in ("Full", "LoRA", "QLoRA", "DoRA", "RSLoRA")),
    Case("Full", "deep", 2, 512, checkpointing=True),
    Case("LoRA", "vocabulary", 4, 384, checkpointing=True),
    Case("QLoRA", "deep", 2, 512, checkpointing=True),
    Case("DoRA", "vocabulary", 2, 512, checkpointing=True, rank=64),
    Case("LoRA", "wide", 1, 1024, rank=64),
    Case("Full", "wide", 1, 128),
    Case("LoRA", "wide", 4, 256, dropout="0.05"),
    Case("LoRA", "wide", 2, 512, padded=True),
]
SMALL = [
    Case("Full", "small", 4, 256),
    Case("LoRA", "small", 8, 256, padded=True),
    Case("QLoRA", "small", 8, 256),
    Case("DoRA", "small", 8, 256, checkpointing=True),
]


def run_spec(case: Case, base: Path) -> Any:
    from finetune_trainer.contract import RunSpec

    return RunSpec.model_validate(
        {
            "run": {"key": "0" * 64, "name": "memory", "number": 1, "job_namespace": "none", "job_name": "memory", "job_uid": "none"},
            "base_model": {"uri": "pvc://models/random", "path": str(base)},
            "dataset": {"uri": "pvc://data/none", "path": "/nonexistent"},
            "tuner": {
                "type": case.tuner,
                **({} if case.tuner == "Full" else {"lora": {"rank": case.rank, "alpha": 2 * case.rank, "dropout": case.dropout}}),
            },
            "stage": "SFT" if case.padded else "ContinuedPretraining",
            "training": {
                "gradient_checkpointing": case.checkpointing,
                "batch_size": case.rows,
                "micro_batch_size": case.rows,
                "packing": not case.padded,
            },
            "artifact": {"uri": "pvc://adapters/none", "path": "/nonexistent"},
        }
    )


def build(dimensions: Dimensions, folder: Path) -> Path:
    """Save a model of random weights."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=dimensions.vocabulary,
        hidden_size=dimensions.hidden,
        intermediate_size=dimensions.intermediate,
        num_hidden_layers=dimensions.layers,
        num_attention_heads=dimensions.heads,
        num_key_value_heads=dimensions.kv_heads,
        max_position_embeddings=4096,
        tie_word_embeddings=dimensions.tied,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def measure(case: Case, base: Path) -> int:
    """Growth of this process's anonymous memory over two steps, in bytes. To be called in a fresh process."""
    import peft  # noqa: F401
    import torch
    import trl.trainer.sft_trainer  # noqa: F401

    from finetune_trainer.contract import Precision
    from finetune_trainer.pod.allocator import LARGE_MODEL_BYTES, return_freed_blocks
    from finetune_trainer.stages.model import load_for_training

    assert return_freed_blocks(LARGE_MODEL_BYTES)  # as the train step does for models of this size

    warm = torch.nn.Linear(8, 8)
    warm(torch.ones(2, 8)).sum().backward()  # starts the autograd engine's threads
    before = anonymous_memory()
    with Sampled() as sampled:
        spec = run_spec(case, base)
        model = load_for_training(spec, base, "cpu", Precision.FP32)
        model.train()
        loaded = anonymous_memory()
        parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        optimizer = torch.optim.AdamW(parameters, lr=1e-4)
        for rows, length in ((1, 16), (case.rows, case.length)):  # after the first, short step the optimizer's moments exist
            ids = torch.randint(4, MODELS[case.model].vocabulary, (rows, length))
            attended = torch.ones_like(ids)
            if case.padded:
                attended[1:, -length // 8 :] = 0
            loss = model(input_ids=ids, attention_mask=attended, labels=ids, use_cache=False).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            optimizer.zero_grad()
    print(json.dumps({"loaded": loaded - before, "peak": sampled.highest - before}))
    return sampled.highest - before


class Sampled:
    """Watches the anonymous memory every two milliseconds."""

    def __enter__(self) -> Self:
        self.highest = anonymous_memory()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(0.002):
            self.highest = max(self.highest, anonymous_memory())


def anonymous_memory() -> int:
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("this kernel does not tell RssAnon")


def predict(case: Case, base: Path) -> int:
    """As the prepare step tells it: through the same mapping from run spec and row lengths, so that what is calibrated is what is told."""
    from finetune_trainer.estimate.plan import Lengths, plan_run
    from finetune_trainer.estimate.shape import read_shape

    plan = plan_run(run_spec(case, base), read_shape(base), Lengths(case.length, case.length), steps=1, threads=1)
    assert plan.micro_batch_size == case.rows
    return plan.peak.total


def measured_in_a_fresh_process(case: Case, base: Path) -> dict[str, int]:
    environment = {**os.environ, "MALLOC_ARENA_MAX": "2", "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-m", "tests.performance.memory_estimate", "--measure", json.dumps(asdict(case)), "--base", str(base)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=900)
    if done.returncode:
        raise RuntimeError(f"{case.name}: {done.stderr[-2000:]}")
    result: dict[str, int] = json.loads(done.stdout.strip().splitlines()[-1])
    return result


@dataclass(frozen=True)
class Outcome:
    """Bytes beyond the state after imports; ``loaded`` is what the model alone took."""

    case: str
    loaded: int
    measured: int
    predicted: int

    @property
    def error(self) -> float:
        return self.predicted / self.measured - 1

    def line(self) -> str:
        loaded, measured, predicted = (number >> 20 for number in (self.loaded, self.measured, self.predicted))
        return f"{self.case:36} loaded {loaded:5}  measured {measured:6}  predicted {predicted:6} MiB  {self.error:+.1%}"


def compare(cases: list[Case], output: Path | None = None) -> list[Outcome]:
    """Measure and predict every case."""
    outcomes = []
    with tempfile.TemporaryDirectory(prefix="memory-estimate-") as folder:
        bases: dict[str, Path] = {}
        for case in cases:
            if case.model not in bases:
                bases[case.model] = build(MODELS[case.model], Path(folder) / case.model)
            measured = measured_in_a_fresh_process(case, bases[case.model])
            outcome = Outcome(case.name, measured["loaded"], measured["peak"], predict(case, bases[case.model]))
            outcomes.append(outcome)
            print(outcome.line(), flush=True)
    errors = [abs(outcome.error) for outcome in outcomes]
    print(f"{len(outcomes)} cases, worst {max(errors):.1%}, mean {sum(errors) / len(errors):.1%}")
    if output is not None:
        table = [{**asdict(outcome), "error": round(outcome.error, 4)} for outcome in outcomes]
        output.write_text(json.dumps({"cases": table, "worst": max(errors)}, indent=2) + "\n", encoding="utf-8")
    return outcomes


def run(full: bool) -> Section:
    """The whole table, or the four small cases of continuous integration."""
    outcomes = compare(CASES if full else SMALL)
    worst = max(abs(outcome.error) for outcome in outcomes)
    cells = tuple((o.case, str(o.measured >> 20), str(o.predicted >> 20), f"{o.error:+.1%}") for o in outcomes)
    flags = "Growth of RssAnon after imports over two steps in a fresh process, float32 on the CPU, random weights; MiB."
    limit = Limit("largest relative error of the estimate", worst, TOLERANCE)
    return Section("Memory estimate", flags, ("case", "measured", "predicted", "error"), cells, (limit,))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--only", help="part of a case's name")
    parser.add_argument("--output", type=Path)
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    parser.add_argument("--base", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        measure(Case(**json.loads(arguments.measure)), arguments.base)
        return 0
    cases = [case for case in (SMALL if arguments.small else CASES) if arguments.only is None or arguments.only in case.name]
    return 0 if all(abs(outcome.error) <= TOLERANCE for outcome in compare(cases, arguments.output)) else 1


if __name__ == "__main__":
    sys.exit(main())
