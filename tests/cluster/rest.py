"""A deployment at rest: that the operator went on looking at it, by its own count, and what it wrote meanwhile, by the server's log."""

from finetune_testbed.audit import AuditLog, Call
from finetune_testbed.bed import Testbed
from tests.cluster.operator_process import OperatorProcess, until

WRITER = "finetune-operator"
_IDLE = 'finetune_reconcile_total{kind="AdapterDeployment",result="idle"}'


def wait_idle(operator: OperatorProcess, looks: int) -> float:
    """Wait for so many looks that wrote nothing, at whichever deployment; how many there were altogether."""
    before = operator.metric(_IDLE)
    until(lambda: operator.metric(_IDLE) >= before + looks)
    return operator.metric(_IDLE)


def writes_since(log: AuditLog, mark: int, namespace: str) -> list[Call]:
    return [call for call in log.writes(WRITER, since=mark) if call.namespace == namespace and not call.is_lease]


def writes_at_rest(bed: Testbed, namespace: str, operator: OperatorProcess, looks: int) -> list[Call]:
    """What was written during so many looks that decided nothing; before them one, so that events of the last write are told."""
    wait_idle(operator, 2)  # of two the second began after what the test has seen
    log = AuditLog(bed)
    mark = log.mark()
    wait_idle(operator, looks)
    return writes_since(log, mark, namespace)
