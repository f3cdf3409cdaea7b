"""What the operator costs the API server, by the server's own audit log."""

import time
from pathlib import Path

from finetune_testbed.audit import AuditLog, Call, tally
from tests.cluster import operator_process
from tests.cluster.finetunejobs import Place
from tests.cluster.operator_process import PATIENCE, OperatorProcess, until

WRITER = "finetune-operator"
BUDGET = 12


def writes(log: AuditLog, since: int, here: Place) -> list[Call]:
    return [call for call in log.writes(WRITER, since=since) if not call.is_lease and call.namespace == here.namespace]


def rest(seconds: float = 3.0) -> None:
    """Let a time pass in which nothing is asked of the operator: the measurement itself, not a wait for something."""
    time.sleep(seconds)


def settled(log: AuditLog, seconds: float = 1.5) -> int:
    """A mark behind a time in which no operator has written: what there was still to say about the past lies before it."""
    deadline, mark = time.monotonic() + PATIENCE, log.mark()
    while True:
        rest(seconds)
        behind = log.mark()
        if all(call.is_lease for call in log.writes(WRITER, since=mark, until=behind)):
            return behind
        assert time.monotonic() < deadline, "operators write for ever"
        mark = behind


def test_a_successful_run_costs_at_most_twelve_writes_and_an_object_at_rest_none(operator: OperatorProcess, here: Place) -> None:
    log = AuditLog(here.bed)
    start = log.mark()
    here.apply("cheap")
    assert here.wait_ended("cheap") == "Succeeded"
    here.wait_event("cheap", "RunSucceeded")
    at_rest = settled(log)
    cost = writes(log, start, here)
    assert len(cost) <= BUDGET, tally(cost)
    rest()
    assert writes(log, at_rest, here) == []


def test_applying_the_same_manifest_again_writes_nothing(operator: OperatorProcess, here: Place) -> None:
    here.apply("same")
    here.wait_ended("same")
    here.wait_event("same", "RunSucceeded")
    log = AuditLog(here.bed)
    mark = settled(log)
    before = here.get("same")["metadata"]["resourceVersion"]
    here.apply("same")
    rest()
    assert writes(log, mark, here) == []
    assert here.get("same")["metadata"]["resourceVersion"] == before


def test_a_restart_of_the_operator_writes_nothing_about_objects_at_rest(operator: OperatorProcess, here: Place, tmp_path: Path) -> None:
    here.apply("quiet")
    here.wait_ended("quiet")
    here.wait_event("quiet", "RunSucceeded")
    log = AuditLog(here.bed)
    mark = settled(log)
    operator.stop()
    with operator_process.running(here.bed.kubeconfig, tmp_path, ("--namespace", here.namespace)) as successor:
        until(lambda: successor.metric('finetune_reconcile_total{kind="FineTuneJob",result="idle"}') >= 1)
        rest()
    assert writes(log, mark, here) == []
