"""A merge in a process of its own: killed in the middle, begun again, asked twice at once, stopped."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from peft import LoraConfig

from finetune_trainer.artifact import inspect
from finetune_trainer.contract import ExitCode, FailureClass, TerminationMessage
from finetune_trainer.pod.basefiles import file_set_digest
from tests.process.conftest import ENVIRONMENT
from tests.serving.merging.conftest import save_adapter

# The merge waits where the test means to strike: a signal from outside may otherwise find it finished.
HELD = """
import sys
from finetune_trainer.cli.main import main
from finetune_trainer.pod.events import EventLog
emit = EventLog.emit
def held(log, event, **fields):
    emit(log, event, **fields)
    if fields.get("phase", event) == sys.argv[1]:
        sys.stdin.read()
EventLog.emit = held
sys.exit(main(sys.argv[2:]))
"""


@pytest.fixture
def command(tiny_base: Path, tmp_path: Path) -> list[str]:
    config = LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "down_proj"], use_dora=True, task_type="CAUSAL_LM")
    adapter = save_adapter(tiny_base, tmp_path / "adapter", config)
    folders = ["--base", str(tiny_base), "--adapter", str(adapter), "--out", str(tmp_path / "merged")]
    digests = ["--base-digest", file_set_digest(tiny_base), "--adapter-digest", inspect(adapter).digest]
    return [sys.executable, "-m", "finetune_trainer.cli.main", "merge", *folders, *digests, "--base-uri", "pvc://models/tiny"]


@contextmanager
def started(command: list[str], words: Path) -> Iterator["subprocess.Popen[str]"]:
    environment = {**os.environ, **ENVIRONMENT, "FINETUNE_TERMINATION_LOG": str(words)}
    streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, env=environment, text=True, **streams) as process:
        yield process
        process.kill()


def strike(command: list[str], words: Path, at: str, number: signal.Signals) -> int:
    """The exit code of a merge that got this signal at this event or phase."""
    with started([sys.executable, "-c", HELD, at, *command[3:]], words) as process:
        assert process.stdout is not None
        for line in process.stdout:
            event = json.loads(line)
            if event.get("phase", event["event"]) == at:
                process.send_signal(number)
                process.communicate(timeout=120)
                return process.returncode
    raise AssertionError(f"ended without {at}")


def finish(command: list[str], words: Path) -> TerminationMessage:
    with started(command, words) as process:
        assert process.wait(120) == 0
    return TerminationMessage.from_json(words.read_bytes())


def test_a_merge_killed_in_the_middle_is_done_by_the_next_attempt_and_only_once(command: list[str], tmp_path: Path) -> None:
    out = tmp_path / "merged"
    assert strike(command, tmp_path / "first", "Comparing", signal.SIGKILL) == -signal.SIGKILL  # the weights are written
    left = [path.name for path in out.iterdir() if path.name != ".merges"]
    assert left, "the kill came after nothing was written"
    second = finish([*command, "--attempt", "2"], tmp_path / "second")
    assert second.summary is not None
    assert second.summary.merge is not None
    digest = second.summary.merge.digest.removeprefix("sha256:")
    assert sorted(path.name for path in out.iterdir()) == sorted([".merges", digest, f"{digest}.meta"])
    assert inspect(out / digest).digest == second.summary.merge.digest
    shutil.rmtree(tmp_path / "adapter")
    third = finish([*command, "--attempt", "3"], tmp_path / "third")
    assert (third.summary, third.result_digest) == (second.summary, second.result_digest)


def test_a_stop_ends_at_once_and_publishes_nothing(command: list[str], tmp_path: Path) -> None:
    assert strike(command, tmp_path / "words", "inputs_verified", signal.SIGTERM) == ExitCode.STOPPED
    word = TerminationMessage.from_json((tmp_path / "words").read_bytes())
    assert (word.outcome, word.step) == (FailureClass.STOPPED, "merge")
    assert not [path for path in (tmp_path / "merged").iterdir() if not path.name.startswith(".")]


def test_two_merges_of_the_same_inputs_at_once_give_one_model(command: list[str], tmp_path: Path) -> None:
    with started(command, tmp_path / "one") as one, started(command, tmp_path / "other") as other:
        assert (one.wait(120), other.wait(120)) == (0, 0)
        assert one.stdout is not None
        assert other.stdout is not None
        told = [json.loads(line)["event"] for line in [*one.stdout, *other.stdout]]
    assert (told.count("merged"), told.count("answered_from_sealed_result")) == (1, 1)


def test_a_refusal_is_told_with_its_way_out_and_imports_no_torch(command: list[str], tmp_path: Path) -> None:
    (tmp_path / "adapter" / "adapter_config.json").write_text(json.dumps({"peft_type": "PREFIX_TUNING"}))
    program = (
        "import sys\nfrom finetune_trainer.cli.main import main\n"
        f"code = main({command[3:]!r})\nsys.exit('imported torch' if 'torch' in sys.modules else code)"
    )
    environment = {**os.environ, **ENVIRONMENT, "FINETUNE_TERMINATION_LOG": str(tmp_path / "words")}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, check=False, timeout=60)
    assert done.returncode == ExitCode.CONFIGURATION
    word = TerminationMessage.from_json((tmp_path / "words").read_bytes())
    assert word.reason == "AdapterNotMergeable"
    assert word.hint


def test_a_digest_that_is_none_is_a_mistake_of_the_command_line(command: list[str]) -> None:
    command[command.index("--base-digest") + 1] = "sha256:abc"
    done = subprocess.run(command, env={**os.environ, **ENVIRONMENT}, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == ExitCode.CONFIGURATION
    assert "--base-digest" in done.stderr
