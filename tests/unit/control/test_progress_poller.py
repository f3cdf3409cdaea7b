"""Training pods are asked at a bounded rate, with their run's token, and forgotten when they end."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from finetune_operator.cluster.cache import ClusterCache, Key
from finetune_operator.cluster.progress import NoProgress, PodAddress
from finetune_operator.control.progress import FIRST, TRUSTED_INTERVALS, ProgressPoller
from finetune_operator.manifests.labels import owner_references, step_labels
from finetune_operator.manifests.names import Owner
from finetune_operator.manifests.tokens import progress_token
from finetune_operator.runtime.metrics import Metrics
from finetune_trainer.contract import ProgressReport

KEY = Key("ns", "router")
RUN_KEY = "a" * 64
SECRET = b"k" * 32
OWNER = Owner("ns", "router", "u-1")
INTERVAL = 15.0


def parent() -> dict[str, Any]:
    spec = {
        "baseModel": {"uri": "pvc://models/tiny"},
        "dataset": {"inline": {"uri": "pvc://data/tickets.jsonl"}},
        "artifact": {"uri": "pvc://adapters/support"},
    }
    run = {"key": RUN_KEY, "name": "router-0123456789", "number": 1, "generation": 1, "activeStep": "train", "attempt": 1}
    return {
        "apiVersion": "finetune.dev/v1alpha1",
        "kind": "FineTuneJob",
        "metadata": {"namespace": "ns", "name": "router", "uid": "u-1", "generation": 1, "resourceVersion": "5"},
        "spec": spec,
        "status": {"observedGeneration": 1, "currentRun": run, "accepted": {"generation": 1, "key": RUN_KEY}},
    }


def child(kind: str, name: str, owners: list[dict[str, Any]], **rest: Any) -> dict[str, Any]:
    labels = step_labels(OWNER, RUN_KEY, "train", 1)
    metadata = {"namespace": "ns", "name": name, "uid": f"uid-{name}", "resourceVersion": "6", "labels": labels, "ownerReferences": owners}
    return {"apiVersion": "v1", "kind": kind, "metadata": metadata, **rest}


def pod(phase: str = "Running", version: str = "7") -> dict[str, Any]:
    state = {"running": {"startedAt": "2026-11-22T10:00:00Z"}} if phase == "Running" else {"terminated": {"exitCode": 0}}
    owners = [{"apiVersion": "batch/v1", "kind": "Job", "name": "train-1", "uid": "uid-train-1", "controller": True}]
    status = {"phase": phase, "podIP": "10.0.0.7", "containerStatuses": [{"name": "trainer", "state": state}]}
    made = child("Pod", "train-1-abcde", owners, status=status, spec={"nodeName": "n"})
    made["metadata"]["resourceVersion"] = version
    return made


class Trainer:
    """Answers with a step that grows, or not at all."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []
        self.step = 1
        self.deaf = False

    async def read(self, address: PodAddress, token: str) -> ProgressReport:
        self.asked.append((address.ip, token))
        if self.deaf:
            raise NoProgress("no answer")
        return ProgressReport(run_key=RUN_KEY, phase="Training", step=self.step, total_steps=300, updated_at="2026-11-22T10:00:00Z")


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


class Rig:
    def __init__(self) -> None:
        self.cache = ClusterCache(lambda _key: None)
        self.cache.parents.put(parent())
        self.cache.jobs.put(child("Job", "train-1", owner_references(OWNER)))
        self.cache.pods.put(pod())
        self.trainer, self.clock, self.notified = Trainer(), Clock(), list[Key]()
        self.poller = ProgressPoller(
            self.cache,
            self.trainer,
            progress_key=SECRET,
            interval=INTERVAL,
            notify=self.notified.append,
            measures=Metrics(),
            clock=self.clock,
            now=lambda: datetime(2026, 11, 22, tzinfo=UTC) + timedelta(seconds=self.clock.now),
        )

    async def pass_seconds(self, seconds: float) -> None:
        end = self.clock.now + seconds
        while self.clock.now < end:
            self.clock.now += 1.0
            self.trainer.step += 1
            await self.poller.poll()


@pytest.fixture
def rig() -> Rig:
    return Rig()


async def test_the_pod_is_asked_with_the_token_of_its_run(rig: Rig) -> None:
    await rig.poller.poll()
    assert rig.trainer.asked == [("10.0.0.7", progress_token(SECRET, "u-1", RUN_KEY))]
    assert rig.notified == [KEY]


async def test_a_pod_that_trains_is_asked_no_more_than_once_per_interval(rig: Rig) -> None:
    await rig.poller.poll()
    await rig.pass_seconds(150)
    assert 10 <= len(rig.trainer.asked) <= 12


async def test_before_the_first_step_it_is_asked_more_often(rig: Rig) -> None:
    rig.trainer.deaf = True
    await rig.pass_seconds(20)
    assert len(rig.trainer.asked) >= 20 / FIRST - 1


async def test_an_answer_that_says_nothing_new_asks_for_no_decision(rig: Rig) -> None:
    await rig.poller.poll()
    for _ in range(3):
        rig.clock.now += INTERVAL
        await rig.poller.poll()
    assert rig.notified == [KEY]


async def test_the_last_answer_of_a_pod_that_fell_silent_does_not_count_for_ever(rig: Rig) -> None:
    await rig.pass_seconds(30)
    rig.trainer.deaf = True
    await rig.pass_seconds((TRUSTED_INTERVALS - 1) * INTERVAL - 1)
    assert rig.poller.answers, "a few missed answers are daily bread"
    rig.notified.clear()
    await rig.pass_seconds(2 * INTERVAL)
    assert rig.poller.answers == {}
    assert rig.notified == [KEY]


async def test_a_pod_that_has_ended_is_forgotten_with_its_answer(rig: Rig) -> None:
    await rig.poller.poll()
    assert rig.poller.answers
    rig.cache.pods.put(pod("Succeeded", "8"))
    await rig.poller.poll()
    assert rig.poller.answers == {}
    await rig.pass_seconds(60)
    assert len(rig.trainer.asked) == 1


async def test_a_pod_of_an_earlier_run_is_left_alone(rig: Rig) -> None:
    newer = parent()
    newer["metadata"]["resourceVersion"] = "9"
    newer["status"]["currentRun"]["key"] = "b" * 64
    rig.cache.parents.put(newer)
    await rig.pass_seconds(10)
    assert rig.trainer.asked == []
