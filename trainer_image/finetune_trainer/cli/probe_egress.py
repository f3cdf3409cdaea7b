"""The probe of egress, as the part of a preflight that it is, and what it tells."""

from dataclasses import dataclass

from finetune_trainer.contract import EgressReport, Probe
from finetune_trainer.pod.context import Evidence
from finetune_trainer.pod.egress import EgressTargets, prove_closed
from finetune_trainer.pod.errors import NotContainedError
from finetune_trainer.pod.events import EventLog

REASON = "EgressNotEnforced"
HINT = "Run where the network plugin enforces NetworkPolicy, and look for another policy that opens these pods."


@dataclass(frozen=True)
class ProbeOrder:
    """``times`` in a row nothing may answer; something may still answer for ``within_seconds``, because rules can come late."""

    targets: EgressTargets
    times: int
    within_seconds: float


def probe_egress(order: ProbeOrder, evidence: Evidence, events: EventLog) -> None:
    """Returns where egress is closed. Raises ``NotContainedError`` that names what answered."""
    found = prove_closed(order.targets, order.times, order.within_seconds)
    evidence.egress = found
    tell(found, events)
    if found.result is Probe.OPEN:
        raise opened(found)


def tell(found: EgressReport, events: EventLog) -> None:
    """One line for the pod's log."""
    events.emit(
        "egress_probe",
        result=found.result.value,
        rounds=found.rounds,
        tried=[each.model_dump() for each in found.tried],
        digest=found.content_digest(),
    )


def opened(found: EgressReport) -> NotContainedError:
    """The error that names what answered."""
    return NotContainedError(REASON, f"egress is not closed: {', '.join(found.answering)} answered from inside the pod", HINT)
