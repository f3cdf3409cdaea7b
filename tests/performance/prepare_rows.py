"""How long does prepare take for 20,000 rows on one core? Reading, checking, rendering, tokenising, judging, sealing.

    python -m tests.performance.prepare_rows [--rows 20000]

The rows are tickets like those of the example (about 85 tokens each with the tokenizer built here), the output schema is checked for each.
Wall time and CPU time of the data part are told apart from the imports, since a busy machine stretches the one and not the other.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.performance.report import Limit, Section

LIMIT_SECONDS = 15.0


def measure(rows: int, folder: Path) -> dict[str, float]:
    """Seconds of one prepare over ``rows`` tickets, imports apart."""
    started = time.perf_counter()
    from finetune_trainer.contract import RunSpec
    from finetune_trainer.data.base_model import check_base_model
    from finetune_trainer.data.preparation import prepare_data
    from finetune_trainer.pod.events import EventLog
    from finetune_trainer.pod.workspace import Workspace

    imported = time.perf_counter()
    from tests.unit.trainer.conftest import TICKET_SCHEMA, build_tiny_base, ticket_rows, write_rows

    base = build_tiny_base(folder / "base")
    data = write_rows(folder / "data.jsonl", ticket_rows(rows))
    (folder / "schema.json").write_text(json.dumps(TICKET_SCHEMA), encoding="utf-8")
    spec = RunSpec.model_validate(
        {
            "run": {"key": "0" * 64, "name": "bench", "number": 1, "job_namespace": "none", "job_name": "bench", "job_uid": "none"},
            "base_model": {"uri": "pvc://models/tiny", "path": str(base)},
            "dataset": {"uri": "pvc://data/tickets.jsonl", "path": str(data)},
            "task": {"type": "Format", "output_schema_path": str(folder / "schema.json")},
            "tuner": {"type": "LoRA"},
            "artifact": {"uri": "pvc://adapters/none", "path": str(folder / "none")},
        }
    )
    wall, cpu = time.perf_counter(), time.process_time()
    with (folder / "events.jsonl").open("wb") as events:
        prepared = prepare_data(spec, Workspace(folder / "work"), check_base_model(spec, base), EventLog(1, events.fileno()))
    return {
        "rows": rows,
        "tokens": prepared.summary.tokens,
        "import_seconds": round(imported - started, 2),
        "seconds": round(time.perf_counter() - wall, 2),
        "cpu_seconds": round(time.process_time() - cpu, 2),
    }


def run(full: bool) -> Section:
    """20,000 rows, or 4,000 for a quick look; the limit counts CPU seconds, which a busy machine does not stretch."""
    result = measured_in_a_fresh_process(20_000 if full else 4_000)
    rows = int(result["rows"])
    limit = Limit(f"CPU seconds for {rows:,} rows on one core", result["cpu_seconds"], LIMIT_SECONDS * rows / 20_000)
    cells = (f"{rows:,}", f"{int(result['tokens']):,}", f"{result['cpu_seconds']:.1f}", f"{result['seconds']:.1f}")
    flags = "Tickets in the messages format, output schema checked per row, one thread; imports and the making of the data not counted."
    return Section("Preparing a dataset", flags, ("rows", "tokens", "CPU s", "wall s"), (cells,), (limit,))


def measured_in_a_fresh_process(rows: int) -> dict[str, float]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "RAYON_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-m", "tests.performance.prepare_rows", "--rows", str(rows)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=600)
    if not done.stdout.strip():
        raise RuntimeError(done.stderr[-2000:])
    result: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
    return result


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=20_000)
    arguments = parser.parse_args()
    os.environ.update({"OMP_NUM_THREADS": "1", "RAYON_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"})
    with tempfile.TemporaryDirectory(prefix="prepare-rows-") as folder:
        result = measure(arguments.rows, Path(folder))
    print(json.dumps(result))
    return 0 if result["cpu_seconds"] <= LIMIT_SECONDS else 1


if __name__ == "__main__":
    sys.exit(main())
