"""Several processes train as one: same losses, one exit code, and a stop that all of them agree on."""

import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from finetune_trainer.contract import FailureClass
from finetune_trainer.pod.errors import OutOfMemoryError, Stopped
from finetune_trainer.pod.events import EventLog
from finetune_trainer.pod.launcher import launch
from finetune_trainer.pod.signals import StopFlag
from tests.process.conftest import PATIENCE, Attempt, Run

SECTIONS = {
    "tuner": {"type": "LoRA", "lora": {"rank": 4, "alpha": 8}},
    "training": {"max_steps": 8, "batch_size": 8, "micro_batch_size": 2, "learning_rate": "2e-3"},
    "evaluation": {"metrics": ["Perplexity"], "max_items": 4},
}


def test_two_processes_lose_as_much_as_one_with_the_same_effective_batch(new_run: Callable[..., Run]) -> None:
    alone = new_run("alone", **SECTIONS).finish()
    together = new_run("together", environment={"FINETUNE_PROCESSES": "2"}, **SECTIONS).finish()
    assert together.tokens == alone.tokens
    assert float(together.loss) == pytest.approx(float(alone.loss), rel=1e-3)
    assert float(together.evaluation_loss or 0) == pytest.approx(float(alone.evaluation_loss or 1), rel=1e-3)


def test_a_term_to_the_launcher_stops_all_ranks_at_the_same_step(new_run: Callable[..., Run]) -> None:
    long = {**SECTIONS, "training": {**SECTIONS["training"], "max_steps": 5000}}
    run = new_run("stopped", environment={"FINETUNE_PROCESSES": "2"}, **long)
    attempt = run.start()
    attempt.wait_for("progress")
    attempt.signal(signal.SIGTERM)
    asked = time.monotonic()
    assert attempt.wait() == 75, attempt.errors()
    assert attempt.ended - asked < 10 + PATIENCE
    message = attempt.message()
    assert message.outcome is FailureClass.STOPPED
    assert message.checkpoint is not None
    names = {path.name for path in (run.workspace.checkpoints / f"checkpoint-{message.checkpoint.step}").iterdir()}
    assert {"rng_state_0.pth", "rng_state_1.pth"} <= names
    following = run.start()
    assert following.wait_for("training")["from_step"] == message.checkpoint.step
    following.signal(signal.SIGTERM)
    assert following.wait() == 75


def test_a_killed_launcher_leaves_no_rank_behind(new_run: Callable[..., Run]) -> None:
    long = {**SECTIONS, "training": {**SECTIONS["training"], "max_steps": 5000}}
    attempt = new_run("orphans", environment={"FINETUNE_PROCESSES": "2"}, **long).start()
    attempt.wait_for("ranks_started")
    ranks = children(attempt)
    assert len(ranks) == 2
    attempt.signal(signal.SIGKILL)
    assert attempt.wait() == -signal.SIGKILL
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline and any(alive(pid) for pid in ranks):
        time.sleep(0.02)
    assert not any(alive(pid) for pid in ranks)


def test_the_class_of_the_rank_that_failed_first_is_told(tmp_path: Path) -> None:
    script = "import os,sys,time; time.sleep(0 if os.environ['RANK'] == '1' else 30); sys.exit(70)"
    with (tmp_path / "events").open("wb") as file, pytest.raises(OutOfMemoryError, match="rank 1 of 2"):
        launch([sys.executable, "-c", script], 2, stop=StopFlag(), events=EventLog(1, file.fileno()), grace=0.2)


def test_the_exit_code_of_rank_0_is_the_launchers(tmp_path: Path) -> None:
    script = "import os,sys; sys.exit(71 if os.environ['RANK'] == '0' else 0)"
    with (tmp_path / "events").open("wb") as file:
        assert launch([sys.executable, "-c", script], 2, stop=StopFlag(), events=EventLog(1, file.fileno()), grace=5) == 71


def test_a_stop_that_one_rank_hears_while_it_starts_is_a_stop_for_all(tmp_path: Path) -> None:
    """Rank 1 leaves at once with the exit code of a stop, and rank 0 fails because it lost its company."""
    script = (
        "import os, pathlib, signal, sys, threading\n"
        "rank = os.environ['RANK']\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(75 if rank == '1' else 1))\n"
        f"pathlib.Path({str(tmp_path)!r}, f'ready-{{rank}}').touch()\n"
        "threading.Event().wait()"
    )
    stop = StopFlag()

    def ask_when_both_are_ready() -> None:
        while len(list(tmp_path.glob("ready-*"))) < 2:
            time.sleep(0.02)
        stop.request()

    threading.Thread(target=ask_when_both_are_ready, daemon=True).start()
    with (tmp_path / "events").open("wb") as file, pytest.raises(Stopped, match="while a rank was still starting"):
        launch([sys.executable, "-c", script], 2, stop=stop, events=EventLog(1, file.fileno()), grace=30)


def children(attempt: Attempt) -> list[int]:
    return [int(pid) for pid in Path(f"/proc/{attempt.pid}/task/{attempt.pid}/children").read_text().split()]


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False
