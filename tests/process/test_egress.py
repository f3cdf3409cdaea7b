"""The probe of egress as a process, and the watch that goes with a training: real sockets, real ends."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from finetune_trainer.contract import ExitCode, FailureClass, Probe, TerminationMessage
from finetune_trainer.pod.egress import EgressTargets, prove_closed
from tests.process.conftest import Run

NOBODY = "nobody.invalid"
"""A name that no resolver knows (RFC 6761)."""


@contextmanager
def listening() -> Iterator[str]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(64)
        yield f"127.0.0.1:{listener.getsockname()[1]}"


@contextmanager
def held() -> Iterator[tuple[socket.socket, str]]:
    """An address at which nobody listens until the socket does."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        yield holder, f"127.0.0.1:{holder.getsockname()[1]}"


@contextmanager
def silent() -> Iterator[str]:
    with held() as (_, address):
        yield address


def probe(folder: Path, *arguments: str) -> tuple[int, TerminationMessage, list[dict[str, Any]]]:
    log = folder / "termination.json"
    command = [sys.executable, "-m", "finetune_trainer.cli.main", "preflight", *arguments]
    surroundings = {**os.environ, "FINETUNE_TERMINATION_LOG": str(log)}
    done = subprocess.run(command, check=False, env=surroundings, capture_output=True, text=True, timeout=120)
    return done.returncode, TerminationMessage.from_json(log.read_bytes()), [json.loads(line) for line in done.stdout.splitlines()]


def test_nothing_that_answers_several_times_in_a_row_is_a_closed_egress(tmp_path: Path) -> None:
    with silent() as nobody:
        code, word, events = probe(tmp_path, "--outside", nobody, "--metadata", nobody, "--name", NOBODY, "--times", "2")
    assert (code, word.outcome, word.step) == (ExitCode.DONE, FailureClass.DONE, "preflight")
    assert word.egress is not None
    assert (word.egress.result, word.egress.rounds, word.egress.answering) == (Probe.CLOSED, 2, ())
    told = next(event for event in events if event["event"] == "egress_probe")
    assert told["digest"] == word.egress.content_digest()


@pytest.mark.parametrize("way", ["outside", "metadata", "name"])
def test_each_way_outside_is_found_and_named(way: str, tmp_path: Path) -> None:
    with silent() as nobody, listening() as somebody:
        targets = {"outside": nobody, "metadata": nobody, "name": NOBODY} | {way: "localhost" if way == "name" else somebody}
        flags = [text for name, target in targets.items() for text in (f"--{name}", target)]
        code, word, _ = probe(tmp_path, *flags, "--within", "1")
    assert (code, word.outcome, word.reason) == (ExitCode.NOT_CONTAINED, FailureClass.NOT_CONTAINED, "EgressNotEnforced")
    assert word.egress is not None
    assert word.egress.answering == (targets[way],)
    assert targets[way] in word.message


@pytest.mark.parametrize("flags", [[], ["--outside", "nobody"], ["--outside", "a:1", "--times", "0"], ["--outside", "a:99999"]])
def test_a_mistake_on_the_command_line_is_one_before_anything_is_tried(flags: list[str]) -> None:
    command = [sys.executable, "-m", "finetune_trainer.cli.main", "preflight", *flags]
    assert subprocess.run(command, check=False, capture_output=True, timeout=60).returncode == ExitCode.CONFIGURATION


class Rounds(EgressTargets):
    """Targets whose answers are given, round by round; the last one goes on."""

    def answering(self) -> frozenset[str]:
        given = SCRIPT.pop(0) if len(SCRIPT) > 1 else SCRIPT[0]
        return frozenset({self.outside} if given else ())


SCRIPT: list[bool] = []


@pytest.mark.parametrize(
    ("answers", "seconds", "result", "rounds"),
    [
        ([False], 0, Probe.CLOSED, 3),
        ([True, True, False], 60, Probe.CLOSED, 5),
        ([False, False, True, False], 60, Probe.CLOSED, 6),
        ([True], 5, Probe.OPEN, 5),
        ([True, False, False, True], 2, Probe.OPEN, 4),
    ],
)
def test_rules_that_come_late_are_waited_for_and_a_silence_counts_only_in_a_row(
    answers: list[bool], seconds: float, result: Probe, rounds: int
) -> None:
    moments = iter(range(1000))
    SCRIPT[:] = answers
    found = prove_closed(Rounds("192.0.2.1:443"), 3, seconds, clock=lambda: float(next(moments)) - 0.5, pause=lambda _seconds: None)
    assert (found.result, found.rounds) == (result, rounds)


def test_a_way_that_opens_while_a_model_trains_ends_the_step_with_a_sealed_checkpoint(new_run: Callable[..., Run]) -> None:
    sections: dict[str, Any] = {
        "tuner": {"type": "LoRA", "lora": {"rank": 4, "alpha": 8}},
        "training": {"max_steps": 20_000, "batch_size": 8, "micro_batch_size": 4, "learning_rate": "2e-3"},
        "evaluation": {"metrics": ["Perplexity"], "max_items": 4},
    }
    with silent() as nobody, held() as (socket_, outside):
        run = new_run("opened", **sections)
        flags = ("--egress-outside", outside, "--egress-metadata", nobody, "--egress-name", NOBODY, "--egress-every", "1")
        attempt = run.start(*flags)
        attempt.wait_for("progress")
        assert attempt.wait_for("egress_probe")["result"] == "Closed"
        socket_.listen()
        assert attempt.wait() == ExitCode.NOT_CONTAINED, attempt.errors()
    word = attempt.message()
    assert (word.outcome, word.reason) == (FailureClass.NOT_CONTAINED, "EgressNotEnforced")
    assert outside in word.message
    assert word.checkpoint is not None
    assert word.checkpoint.step == word.last_step
    assert word.egress is not None
    assert word.egress.result is Probe.OPEN
    assert word.egress.rounds == len(attempt.events("egress_probe")) >= 2
