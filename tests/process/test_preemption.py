"""Whatever stops a trainer, at whatever moment: the run goes on and ends with the adapter of an undisturbed run."""

import json
import random
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from finetune_trainer.cli.run import execute
from finetune_trainer.contract import FailureClass, TrainSummary
from finetune_trainer.pod.context import Evidence, StepContext, StepOptions
from finetune_trainer.pod.errors import Stopped
from finetune_trainer.pod.events import EventLog, Value
from finetune_trainer.pod.signals import StopFlag
from tests.process.conftest import Interruption, Run

POINTS = 5
LOGIT_TOLERANCE = 1e-4
SECTIONS = {
    "tuner": {"type": "LoRA", "lora": {"rank": 4, "alpha": 8, "dropout": "0.1"}},
    "training": {
        "max_steps": 120,
        "batch_size": 8,
        "micro_batch_size": 2,
        "learning_rate": "2e-3",
        "evaluate_every_steps": 20,
    },
    "evaluation": {"metrics": ["Perplexity"], "max_items": 4},
    "checkpoint": {"every_seconds": 1, "keep": 2},
}


@pytest.fixture(scope="module")
def straight() -> list[TrainSummary]:
    """Filled by the first test that needs it: the undisturbed run is the same for all of them."""
    return []


def undisturbed(new_run: Callable[..., Run], known: list[TrainSummary]) -> TrainSummary:
    if not known:
        known.append(new_run("straight", longest=96, **SECTIONS).finish())
    return known[0]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["TERM", "KILL"])
def test_five_random_interruptions_change_nothing_in_the_result(
    number: signal.Signals, new_run: Callable[..., Run], straight: list[TrainSummary]
) -> None:
    expected = undisturbed(new_run, straight)
    run, seed, resumed = new_run("disturbed", longest=96, **SECTIONS), int(number), []
    print(f"random seed {seed}")
    rng = random.Random(seed)
    for point in range(POINTS):
        # at a step, since seconds mean something else on a busy machine, and early enough to leave steps to the following ones
        share, delay = rng.random() / (POINTS + 1 - point), rng.uniform(0, 0.05)
        attempt = run.start(interruption=Interruption((number,), share, delay, sealed=point == 0))
        code = attempt.wait()
        resumed.append(attempt.events("training")[0]["from_step"])
        if number == signal.SIGTERM:
            assert code == 75, attempt.errors()
            attempt.assert_stopped_within(5)
            message = attempt.message()
            assert message.outcome is FailureClass.STOPPED
            assert message.checkpoint is not None
            assert message.checkpoint.step == message.last_step
        else:
            assert code == -signal.SIGKILL
    summary = run.finish()
    assert summary.adapter_digest == expected.adapter_digest
    assert float(summary.reload_difference or "nan") <= LOGIT_TOLERANCE
    assert (summary.steps, summary.loss, summary.tokens) == (expected.steps, expected.loss, expected.tokens)
    assert resumed == sorted(resumed)
    assert summary.resumed_from_step is not None
    assert summary.resumed_from_step > 0


def test_a_torn_and_a_foreign_checkpoint_are_skipped_with_the_reason(new_run: Callable[..., Run], straight: list[TrainSummary]) -> None:
    expected = undisturbed(new_run, straight)
    run = new_run("damaged", longest=96, **SECTIONS)
    attempt = run.start(interruption=Interruption((signal.SIGTERM,), sealed=True))
    assert attempt.wait() == 75, attempt.errors()
    sealed = attempt.message().checkpoint
    assert sealed is not None
    folder = run.workspace.checkpoints
    good = folder / f"checkpoint-{sealed.step}"
    torn, foreign, unfinished = (folder / f"checkpoint-{sealed.step + more}" for more in (1, 2, 3))
    for copy in (torn, foreign, unfinished):
        shutil.copytree(good, copy)
    weights = torn / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    manifest = foreign / "MANIFEST.json"
    manifest.write_text(manifest.read_text().replace(f'"run":"{"a" * 64}"', f'"run":"{"c" * 64}"'))
    (unfinished / "MANIFEST.json").unlink()
    following = run.start(interruption=Interruption((signal.SIGTERM,), event="training"))
    assert following.wait() == 75, following.errors()
    assert following.events("training")[0]["from_step"] == sealed.step
    reasons = [event["reason"] for event in following.events("checkpoint_skipped")]
    assert [reason.split(":")[0] for reason in reasons] == [unfinished.name, foreign.name, torn.name]
    assert "was not written to its end" in reasons[0]
    assert "made for another run (cccc" in reasons[1]
    assert "adapter_model.safetensors has" in reasons[2]
    assert following.message().skipped_checkpoints == reasons
    assert run.finish().adapter_digest == expected.adapter_digest


def test_a_stop_before_training_leaves_at_once(new_run: Callable[..., Run]) -> None:
    attempt = new_run("early", **SECTIONS).start(interruption=Interruption((signal.SIGTERM,), event="start"))
    assert attempt.wait() == 75, attempt.errors()
    attempt.assert_stopped_within(2)
    assert attempt.message().checkpoint is None


def test_a_second_term_does_not_wait_for_the_seal(new_run: Callable[..., Run]) -> None:
    # One step takes seconds here, so that both signals arrive within it.
    slow = {**SECTIONS, "training": {**SECTIONS["training"], "batch_size": 512, "micro_batch_size": 2}}
    twice = Interruption((signal.SIGTERM, signal.SIGINT), delay=0.05, event="training")
    attempt = new_run("impatient", rows=600, longest=96, **slow).start(interruption=twice)
    assert attempt.wait() == 75, attempt.errors()
    attempt.assert_stopped_within(2)
    assert attempt.message().checkpoint is None


def test_a_stop_during_the_evaluation_does_not_train_again(new_run: Callable[..., Run], straight: list[TrainSummary]) -> None:
    expected = undisturbed(new_run, straight)
    run = new_run("evaluating", longest=96, **SECTIONS)
    attempt = run.start(interruption=Interruption((signal.SIGTERM,), event="phase", fields={"phase": "Evaluating"}))
    assert attempt.wait() == 75, attempt.errors()
    assert attempt.message().checkpoint is not None
    following = run.start()
    assert following.wait() == 0
    assert not following.events("training")
    summary = following.message().summary
    assert summary is not None
    assert summary.train is not None
    assert summary.train.adapter_digest == expected.adapter_digest
    # the process that reloaded and compared is not the one that trained
    assert float(summary.train.reload_difference or "nan") <= LOGIT_TOLERANCE
    assert json.loads((run.workspace.out_meta / "logit-probe.json").read_text())["difference"] <= LOGIT_TOLERANCE


class StopsAtTheEnd(EventLog):
    """Asks for a stop, as TERM would, at the moment the trained model is sealed: the process still holds it back then."""

    def __init__(self, descriptor: int, stop: StopFlag) -> None:
        super().__init__(1, descriptor)
        self._stop = stop

    def emit(self, event: str, **fields: Value) -> None:
        super().emit(event, **fields)
        if event == "checkpoint" and fields["name"] == "trained":
            self._stop.request()


@pytest.mark.parametrize("metrics", [["Perplexity"], []], ids=["with metrics", "without"])
def test_a_stop_while_the_trained_model_is_sealed_ends_before_the_model_is_loaded_again(
    metrics: list[str], new_run: Callable[..., Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FINETUNE_PROGRESS_PORT", "0")
    short = {**SECTIONS, "training": {**SECTIONS["training"], "max_steps": 2}, "evaluation": {"metrics": metrics}}
    run, stop = new_run("sealing", **short), StopFlag()
    with (tmp_path / "events").open("wb") as file:
        events = StopsAtTheEnd(file.fileno(), stop)
        context = StepContext(run.spec, run.workspace, 1, StepOptions(), events, stop, Evidence(), tmp_path / "run.json")
        with pytest.raises(Stopped, match="step 2, is sealed"):
            execute(context)
    assert context.evidence.checkpoint is not None
    assert context.evidence.checkpoint.step == 2
    assert not run.workspace.out.exists()
    following = run.start()
    assert following.wait() == 0, following.errors()
    assert not following.events("training")


def test_a_sealed_result_is_answered_without_training_again(new_run: Callable[..., Run]) -> None:
    run = new_run("sealed", **{**SECTIONS, "training": {**SECTIONS["training"], "max_steps": 2}})
    first = run.finish()
    assert not run.workspace.checkpoints.exists()
    again = run.start()
    assert again.wait() == 0
    assert not again.events("training")
    assert run.finish() == first
