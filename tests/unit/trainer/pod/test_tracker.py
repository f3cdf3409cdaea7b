"""A tracker beside a training: what arrives, once, and what happens when nothing can."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import pytest

from finetune_trainer.contract import TrackerReport
from finetune_trainer.pod import tracker as of_tracker
from finetune_trainer.pod.tracker import BATCH, WAITING, Described, Point, Status, TrackedRun, Tracker, TrackerError

ABOUT = Described("ns/tickets", "tickets-1", "u/k", {"finetune.job": "tickets"})
LONG = 60.0


class Recorder:
    """A server that remembers; it refuses ``refusals`` times and does not answer before ``answers`` is set."""

    def __init__(self, known: TrackedRun | None = None, refusals: int = 0) -> None:
        self.known = known or TrackedRun("r1")
        self.refusals = refusals
        self.answers = threading.Event()
        self.answers.set()
        self.asked = threading.Event()
        self.begun = 0
        self.sizes: list[int] = []
        self.points: list[Point] = []
        self.parameters: dict[str, str] = {}
        self.tags: dict[str, str] = {}
        self.statuses: list[Status] = []

    def begin(self, described: Described, at: int) -> TrackedRun:
        self.asked.set()
        assert described is ABOUT
        assert at == 7000
        self._answer()
        self.begun += 1
        return self.known

    def log(
        self, run: str, points: tuple[Point, ...] = (), parameters: Mapping[str, str] | None = None, tags: Mapping[str, str] | None = None
    ) -> None:
        self._answer()
        assert run == self.known.id
        self.sizes.append(len(points))
        self.points += points
        self.parameters |= parameters or {}
        self.tags |= tags or {}

    def mark(self, run: str, status: Status, at: int | None = None) -> None:
        self._answer()
        self.statuses.append(status)

    def close(self) -> None: ...

    def _answer(self) -> None:
        self.answers.wait(LONG)
        if self.refusals:
            self.refusals -= 1
            raise TrackerError("no connection: ConnectError")


@contextmanager
def tracking(server: Recorder) -> Iterator[tuple[Tracker, list[TrackerReport]]]:
    heard: list[TrackerReport] = []
    made = Tracker(server, ABOUT, heard.append, now=lambda: 7.0, every_seconds=0.001)
    yield made, heard
    server.answers.set()


def test_everything_arrives_once_in_bounded_requests() -> None:
    server = Recorder()
    with tracking(server) as (tracker, heard):
        for step in range(1, 2 * BATCH + 2):
            tracker.values(step, {"train/loss": 1.0 / step, "train/gradient_norm": None, "odd": float("nan")})
        tracker.parameters({"learning_rate": "2e-4", "long": "x" * 999})
        tracker.tags({"finetune.artifact_digest": "sha256:0"})
        tracker.start()
        tracker.finish("FINISHED", LONG)
    assert [point.step for point in server.points] == list(range(1, 2 * BATCH + 2))
    assert max(server.sizes) <= BATCH
    assert server.parameters == {"learning_rate": "2e-4", "long": "x" * 250}
    assert server.tags == {"finetune.artifact_digest": "sha256:0"}
    assert (server.begun, server.statuses) == (1, ["FINISHED"])
    assert heard == [TrackerReport(run_id="r1")]


def test_a_run_that_goes_on_gets_no_step_and_no_setting_twice() -> None:
    server = Recorder(TrackedRun("r1", frozenset({"learning_rate"}), {"train/loss": 3}))
    with tracking(server) as (tracker, _):
        for step in range(2, 6):
            tracker.values(step, {"train/loss": 1.0})
        tracker.values(2, {"validation/loss": 1.0})
        tracker.parameters({"learning_rate": "another", "seed": "42"})
        tracker.start()
        tracker.finish("FINISHED", LONG)
    assert [(point.name, point.step) for point in server.points] == [("train/loss", 4), ("train/loss", 5), ("validation/loss", 2)]
    assert server.parameters == {"seed": "42"}


def test_what_could_not_be_sent_is_sent_later() -> None:
    server = Recorder(refusals=3)
    with tracking(server) as (tracker, heard):
        tracker.values(1, {"train/loss": 1.0})
        tracker.start()
        while not server.points:
            server.asked.wait(0.01)
        tracker.finish("FINISHED", LONG)
    assert [point.step for point in server.points] == [1]
    assert [report.trouble for report in heard] == ["no connection: ConnectError", None]
    assert server.begun == 1


def test_a_server_that_never_answers_holds_up_neither_the_training_nor_its_end() -> None:
    server = Recorder()
    server.answers.clear()
    with tracking(server) as (tracker, heard):
        tracker.start()
        assert server.asked.wait(LONG)
        for step in range(WAITING + 5):
            tracker.values(step, {"train/loss": 1.0})
        tracker.finish("FINISHED", 0.05)
        assert tracker.report == TrackerReport(trouble="no answer in time", lost=WAITING + 5)
    assert heard[0] == TrackerReport(lost=1)


def test_one_that_cannot_be_reached_is_tried_once_more_at_the_end() -> None:
    server = Recorder(refusals=10_000)
    with tracking(server) as (tracker, _):
        tracker.values(1, {"train/loss": 1.0})
        tracker.start()
        tracker.finish("FAILED", LONG)
        assert tracker.report == TrackerReport(trouble="no connection: ConnectError", lost=1)


def test_its_patience_fits_into_what_a_pod_has_after_a_stop() -> None:
    assert of_tracker.STOP_SECONDS < 30 / 2


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_defect_of_ours_keeps_no_training_from_its_end_and_is_told_as_a_loss() -> None:
    class Defective(Recorder):
        def begin(self, described: Described, at: int) -> TrackedRun:
            raise ValueError("a defect")

    with tracking(Defective()) as (tracker, _heard):
        tracker.values(1, {"train/loss": 1.0})
        tracker.start()
        tracker.finish("FINISHED", LONG)
        assert tracker.report.lost == 1
        assert tracker.report.trouble is None, "the end waited for a thread that was gone"
        assert tracker.report.run_id is None
