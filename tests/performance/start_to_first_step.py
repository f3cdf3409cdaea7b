"""From the start of the process to the end of the first optimizer step: what a user waits for before anything moves.

Starts the real command on a work folder whose prepare step is done, with 2,000 rows and the two-million-parameter model, and reads its
events. Processor seconds are the limit everywhere, wall seconds where a person runs the full benchmark on a machine that is at rest.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from tests.performance.report import Limit, Section
from tests.performance.step_overhead import build_base, document

SECONDS = 25.0
ROWS = 2000


def run(full: bool) -> Section:
    """Three starts, seven with ``full``."""
    starts = []
    with tempfile.TemporaryDirectory(prefix="first-step-") as name:
        folder = Path(name)
        base = build_base(folder / "base")
        for number in range(7 if full else 3):
            starts.append(_start(folder / str(number), base))
    wall, processor = median(start[0] for start in starts), median(start[1] for start in starts)
    limits = [Limit("processor seconds to the first step", processor, SECONDS)]
    if full:
        limits.append(Limit("seconds to the first step", wall, SECONDS))
    return Section(
        title="Start of the process to the first step",
        flags=f"LoRA on a Llama of 2 M parameters, {ROWS} rows, one thread; median of {len(starts)} starts",
        columns=("wall s", "processor s"),
        rows=((f"{wall:.1f}", f"{processor:.1f}"),),
        limits=tuple(limits),
    )


def _start(folder: Path, base: Path) -> tuple[float, float]:
    """Wall and processor seconds until the first progress event; the process is stopped after it."""
    spec = _prepare(folder, base)
    command = [sys.executable, "-m", "finetune_trainer.cli.main", "run", "--spec", str(spec), "--workspace", str(folder / "work")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "FINETUNE_PROGRESS_PORT": "0", "FINETUNE_TERMINATION_LOG": str(folder / "words")}
    began = time.perf_counter()
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        seconds: tuple[float, float] | None = None
        for line in process.stdout:
            if seconds is None and json.loads(line)["event"] == "progress":
                seconds = time.perf_counter() - began, _processor_seconds(process.pid)
                process.terminate()
        assert process.wait() == 75
    assert seconds is not None
    return seconds


def _processor_seconds(pid: int) -> float:
    """User and system time of all threads so far (proc_pid_stat(5), fields 14 and 15)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _prepare(folder: Path, base: Path) -> Path:
    from finetune_trainer.contract import DataSummary, Estimate, PrepareSummary, RunSpec, Step, Summary
    from finetune_trainer.pod.basefiles import file_set_digest
    from finetune_trainer.pod.datamanifest import seal_data
    from finetune_trainer.pod.sealing import seal_result
    from finetune_trainer.pod.workspace import Workspace
    from tests.process.training.conftest import write_rows

    workspace = Workspace(folder / "work")
    write_rows(workspace.train_rows, ROWS, seed=1, longest=160)
    made: dict[str, Any] = document("LoRA", base, 1000)
    spec = RunSpec.model_validate(made)
    manifest = seal_data(workspace, [workspace.train_rows.name], [], {"made": "for a benchmark"})
    data = DataSummary(
        digest=manifest.content_digest(), examples=ROWS, validation_examples=0, evaluation_items=0, tokens=ROWS * 80, format="Messages"
    )
    prepared = PrepareSummary(
        dataset=data,
        estimate=Estimate(memory_bytes=1, disk_bytes=1, seconds=1, confidence="Fitted"),
        base_digest=file_set_digest(base),
        total_steps=1000,
        micro_batch_size=16,
    )
    seal_result(workspace, spec, Step.PREPARE, Summary(prepare=prepared))
    path = folder / "run.json"
    path.write_text(spec.to_json(), encoding="utf-8")
    return path
