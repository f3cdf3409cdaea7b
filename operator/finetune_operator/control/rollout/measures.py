"""What rollouts report about themselves, as a protocol, and what is read off two statuses that were both written."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Protocol

from finetune_operator.api.adapterdeployment.status import Stage
from finetune_operator.cluster.cache import Key
from finetune_operator.domain import reading

Status = Mapping[str, Any]


class RolloutMeasures(Protocol):
    """Implemented by `finetune_operator.runtime.rollout_metrics.RolloutMetrics`."""

    def reconciled(self, result: str, seconds: float) -> None:
        """One reconcile has ended; ``result`` is ok, idle, gone, or the class of an error."""

    def rollout_ended(self, namespace: str, outcome: str, seconds: float) -> None:
        """A rollout has come to its end, ``seconds`` after it began; ``outcome`` is one of the documented reasons."""

    def taken_back(self, namespace: str, seconds: float) -> None:
        """Every router has acknowledged that a canary is gone, ``seconds`` after that was decided."""

    def event_recorded(self, result: str) -> None:
        """An Event was written, counted or refused."""

    def pod_read(self, role: str, result: str) -> None:
        """A router or a server was asked; ``result`` is ok or none."""

    def stage_is(self, namespace: str, name: str, stage: str) -> None:
        """The stage of the rollout under way; empty when there is none."""

    def forgotten(self, namespace: str, name: str) -> None:
        """The deployment is gone: so is every series that names it."""


def measure(measures: RolloutMeasures, key: Key, before: Status, after: Status, now: datetime) -> None:
    """Count what happened between two statuses."""
    known = [_identity(entry) for entry in reading.objects(before, "history")]
    for entry in reading.objects(after, "history"):
        if _identity(entry) not in known:
            seconds = reading.seconds_between(reading.moment(entry, "startedAt"), reading.moment(entry, "endedAt"))
            measures.rollout_ended(key.namespace, reading.text(entry, "outcome"), seconds)
    was, stage = reading.text(before, "rollout", "stage"), reading.text(after, "rollout", "stage")
    if was == Stage.ROLLING_BACK.value and stage != was:
        measures.taken_back(key.namespace, reading.seconds_between(reading.moment(before, "rollout", "stageSince"), now))
    measures.stage_is(key.namespace, key.name, stage)


def _identity(entry: Status) -> tuple[str, str]:
    return reading.text(entry, "version"), reading.text(entry, "startedAt")
