"""What changed between two statuses, in the words of logs and metrics: a pure comparison, so that both say the same."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic.alias_generators import to_camel

from finetune_operator.api.run import Retries
from finetune_operator.cluster.cache import Key
from finetune_operator.control.measures import Measures
from finetune_operator.domain.governance.judge import AUDIT_ONLY

Status = Mapping[str, Any]
_CAUSES = tuple(to_camel(name) for name in Retries.model_fields if name != "idle_preemptions")
"""Every budget of a run; idle preemptions are counted as preemptions already."""


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


def measure(measures: Measures, key: Key, before: Status, after: Status, spec: Status) -> None:
    """Count what happened between two statuses that were both written; ``spec`` is the object's, for what its pods occupy."""
    namespace = key.namespace
    known = {entry.get("number") for entry in before.get("history") or []}
    for entry in after.get("history") or []:
        if entry.get("number") not in known:
            measures.run_finished(namespace, entry.get("outcome") or "", entry.get("reason") or "", _seconds(entry))
    verdict = (after.get("evaluation") or {}).get("verdict")
    if verdict and after.get("evaluation") != before.get("evaluation"):
        measures.gate_decided(namespace, verdict)
    _measure_governance(measures, before.get("governance") or {}, after.get("governance") or {}, after.get("currentRun") or {})
    _measure_run(measures, namespace, before.get("currentRun") or {}, after.get("currentRun") or {})
    _measure_admission(measures, namespace, before, after)
    _measure_accelerators(measures, namespace, before.get("currentRun") or {}, after.get("currentRun") or {}, spec)
    remember(measures, key, after)


def remember(measures: Measures, key: Key, status: Status) -> None:
    """What the gauges of a job that exists now say: its last success and the size of its artifact."""
    at = last_success(status)
    if at is not None:
        measures.succeeded(*key, at)
    size = (status.get("artifact") or {}).get("bytes")
    if size is not None:
        measures.artifact(*key, size)


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


_STAGES = {"train": "Start", "publish": "Promote"}


def _measure_governance(measures: Measures, before: Status, after: Status, run: Status) -> None:
    """A decision is news when its outcome, what it was about or what it found has changed."""
    if not after or all(before.get(field) == after.get(field) for field in ("decision", "digest", "policies", "findings")):
        return
    under_way = run.get("outcome") is None
    measures.governed(_STAGES.get(str(run.get("activeStep") or ""), "Accept") if under_way else "Accept", str(after.get("decision") or ""))
    known = {_finding(finding) for finding in before.get("findings") or []}
    for finding in after.get("findings") or []:
        if _finding(finding) not in known:
            measures.found(*_finding(finding)[:2])


def _finding(finding: Status) -> tuple[str, str, str, str]:
    """Rule, effect, field and policy."""
    audit = AUDIT_ONLY in str(finding.get("message") or "")
    effect = "blocks" if finding.get("blocks") else "audit" if audit else "told"
    return str(finding.get("rule") or ""), effect, str(finding.get("field") or ""), str(finding.get("policy") or "").partition("@")[0]


def _measure_admission(measures: Measures, namespace: str, before: Status, after: Status) -> None:
    """From a run's start to the moment its train step was admitted, by the cluster or by a queue."""
    run = after.get("currentRun") or {}
    admitted = next((change for change in condition_changes(before, after) if change.type == "Admitted" and change.status == "True"), None)
    if admitted is None or not run.get("startedAt") or run.get("number") != (before.get("currentRun") or {}).get("number"):
        return
    moments = [c.get("lastTransitionTime") for c in after.get("conditions") or [] if c.get("type") == "Admitted"]
    if moments and moments[0]:
        measures.admitted(namespace, _between(run["startedAt"], moments[0]))


def _measure_accelerators(measures: Measures, namespace: str, before: Status, after: Status, spec: Status) -> None:
    """Accelerators times seconds of a train attempt that has ended."""
    resources = spec.get("resources") or {}
    count = (resources.get("gpusPerNode") or 0) * (resources.get("nodes") or 1)
    ended = (after.get("runningSeconds") or 0) - (before.get("runningSeconds") or 0)
    if count and ended > 0 and before.get("activeStep") == "train" and before.get("number") == after.get("number"):
        measures.occupied(namespace, spec.get("queueName") or "", count * ended)


def _seconds(entry: Status) -> float | None:
    if not entry.get("startedAt") or not entry.get("finishedAt"):
        return None
    return _between(entry["startedAt"], entry["finishedAt"])


def _between(start: str, end: str) -> float:
    return (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds()
