"""What changed between two statuses, in the words of logs and metrics: a pure comparison, so that both say the same."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from finetune_operator.control.measures import Measures

Status = Mapping[str, Any]
_CAUSES = ("infrastructure", "outOfMemory", "hostOutOfMemory", "storage", "preemptions")


@dataclass(frozen=True)
class ConditionChange:
    """One condition that got another status or reason."""

    type: str
    status: str
    reason: str
    message: str


def condition_changes(before: Status, after: Status) -> Iterator[ConditionChange]:
    """Conditions of ``after`` that ``before`` had not, or had with another status or reason."""
    known = {c.get("type"): (c.get("status") or "", c.get("reason") or "") for c in before.get("conditions") or []}
    for condition in after.get("conditions") or []:
        kind, status, reason = (str(condition.get(field) or "") for field in ("type", "status", "reason"))
        if known.get(kind) != (status, reason):
            yield ConditionChange(kind, status, reason, condition.get("message") or "")


def measure(measures: Measures, namespace: str, name: str, before: Status, after: Status) -> None:
    """Count what happened between two statuses that were both written."""
    known = {entry.get("number") for entry in before.get("history") or []}
    for entry in after.get("history") or []:
        if entry.get("number") not in known:
            measures.run_finished(namespace, entry.get("outcome") or "", entry.get("reason") or "", _seconds(entry))
    verdict = (after.get("evaluation") or {}).get("verdict")
    if verdict and after.get("evaluation") != before.get("evaluation"):
        measures.gate_decided(namespace, verdict)
    _measure_run(measures, namespace, before.get("currentRun") or {}, after.get("currentRun") or {})
    at = last_success(after)
    if at is not None and at != last_success(before):
        measures.succeeded(namespace, name, at)


def last_success(status: Status) -> float | None:
    """When the newest successful run ended, as a Unix time."""
    ends = [entry["finishedAt"] for entry in status.get("history") or [] if entry.get("outcome") == "Succeeded" and entry.get("finishedAt")]
    return max(datetime.fromisoformat(end).timestamp() for end in ends) if ends else None


def _measure_run(measures: Measures, namespace: str, before: Status, after: Status) -> None:
    if not after or before.get("key") != after.get("key") or before.get("number") != after.get("number"):
        return
    used, known = after.get("retries") or {}, before.get("retries") or {}
    for cause in _CAUSES:
        for _ in range((used.get(cause) or 0) - (known.get(cause) or 0)):
            measures.run_retried(namespace, str(after.get("activeStep") or ""), cause)
    started, updated = after.get("startedAt"), after.get("updatedAt")
    if after.get("step") and not before.get("step") and started and updated:
        measures.first_step(namespace, _between(started, updated))


def _seconds(entry: Status) -> float | None:
    if not entry.get("startedAt") or not entry.get("finishedAt"):
        return None
    return _between(entry["startedAt"], entry["finishedAt"])


def _between(start: str, end: str) -> float:
    return (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds()
