"""Events are few: equal notes are one event whose series grows ever more rarely."""

from datetime import UTC, datetime
from typing import Any

import pytest

from finetune_operator.cluster.errors import Forbidden, NotFound
from finetune_operator.cluster.resources import Resource
from finetune_operator.control.recorder import NOTE_LIMIT, WINDOW, Recorder
from finetune_operator.domain.plan import EventNote, ObjectReference

JOB = {"metadata": {"namespace": "support", "name": "router", "uid": "u-1"}}
OTHER = {"metadata": {"namespace": "support", "name": "router", "uid": "u-2"}}
NOTE = EventNote(type="Warning", reason="ClaimMissing", action="Prepare", message="claim models does not exist")


class Events:
    """What was written; ``refusal`` is raised instead."""

    def __init__(self) -> None:
        self.created: list[dict[str, Any]] = []
        self.patched: list[tuple[str, dict[str, Any]]] = []
        self.refusal: Exception | None = None

    async def create(self, resource: Resource, manifest: dict[str, Any]) -> dict[str, Any]:
        if self.refusal:
            raise self.refusal
        self.created.append(manifest)
        return manifest

    async def merge(self, resource: Resource, namespace: str, name: str, patch: dict[str, Any]) -> dict[str, Any]:
        if self.refusal:
            raise self.refusal
        self.patched.append((name, patch))
        return patch


class Clock:
    now = 5000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def events() -> Events:
    return Events()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def recorder(events: Events, clock: Clock) -> Recorder:
    return Recorder(events, instance="host_1", clock=clock, now=lambda: datetime.fromtimestamp(clock.now, UTC))


async def test_a_note_is_an_event_about_the_job_and_names_the_child(recorder: Recorder, events: Events) -> None:
    child = ObjectReference("batch/v1", "Job", "support", "router-abc-train-1", "u-9")
    assert await recorder.record(JOB, EventNote("Normal", "Training", "Train", "the model trains", child)) == "written"
    (event,) = events.created
    assert event["regarding"] == {
        "apiVersion": "finetune.dev/v1alpha1",
        "kind": "FineTuneJob",
        "namespace": "support",
        "name": "router",
        "uid": "u-1",
    }
    assert event["related"]["name"] == "router-abc-train-1"
    assert (event["type"], event["reason"], event["action"], event["note"]) == ("Normal", "Training", "Train", "the model trains")
    assert event["eventTime"].endswith("Z")


async def test_a_thousand_equal_notes_are_one_event_and_a_handful_of_updates(recorder: Recorder, events: Events) -> None:
    outcomes = [await recorder.record(JOB, NOTE) for _ in range(1000)]
    assert len(events.created) == 1
    assert [patch["series"]["count"] for _, patch in events.patched] == [2, 4, 8, 16, 32, 64, 128, 256, 512]
    assert outcomes.count("counted") == 1000 - 10


async def test_notes_that_differ_in_anything_are_events_of_their_own(recorder: Recorder, events: Events) -> None:
    await recorder.record(JOB, NOTE)
    await recorder.record(OTHER, NOTE)
    await recorder.record(JOB, EventNote("Warning", "ClaimMissing", "Prepare", "claim data does not exist"))
    assert len({event["metadata"]["name"] for event in events.created}) == 3


async def test_after_a_while_an_equal_note_is_news_again(recorder: Recorder, events: Events, clock: Clock) -> None:
    await recorder.record(JOB, NOTE)
    clock.now += WINDOW + 1
    await recorder.record(JOB, NOTE)
    assert len(events.created) == 2


async def test_an_event_that_aged_away_is_written_anew(recorder: Recorder, events: Events) -> None:
    await recorder.record(JOB, NOTE)
    events.refusal = NotFound("gone", status=404)
    await recorder.record(JOB, NOTE)
    events.refusal = None
    await recorder.record(JOB, NOTE)
    assert len(events.created) == 2


async def test_a_refused_event_is_said_in_the_log_and_stops_nothing(
    recorder: Recorder, events: Events, caplog: pytest.LogCaptureFixture
) -> None:
    events.refusal = Forbidden("events is forbidden", status=403, reason="Forbidden")
    assert await recorder.record(JOB, NOTE) == "refused"
    assert "events is forbidden" in caplog.text


async def test_long_notes_are_cut_to_what_the_api_server_takes(recorder: Recorder, events: Events) -> None:
    await recorder.record(JOB, EventNote("Normal", "R", "A", "x" * 5000))
    assert len(events.created[0]["note"]) == NOTE_LIMIT
