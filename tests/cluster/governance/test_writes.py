"""What governance costs the API server, by its own audit log: at most three writes more for the same run, wherever they go."""

from pathlib import Path

from finetune_testbed.audit import AuditLog, Call, tally
from finetune_testbed.bed import Testbed
from tests.cluster import finetunejobs, governed_site, operator_process
from tests.cluster.operator_process import until
from tests.cluster.test_operator_budget import WRITER, settled

ADDED = 3


def test_a_run_that_waits_for_an_approval_costs_at_most_three_writes_more(t2: Testbed, tmp_path: Path) -> None:
    log = AuditLog(t2)

    def writes(since: int) -> list[Call]:
        return [call for call in log.writes(WRITER, since=since, until=settled(log)) if not call.is_lease]

    operator = operator_process.running(t2.kubeconfig, tmp_path, ("--governance",))
    with governed_site.site(t2) as site, finetunejobs.place(t2) as plain, operator:
        site.demand(approvals=[{"stage": "Train", "count": 1}])
        site.register()
        until(lambda: site.registered().get("conditions"))

        mark = settled(log)  # behind the policy's own status
        plain.apply("plain")
        assert plain.wait_ended("plain") == "Succeeded"
        plain.wait_event("plain", "RunSucceeded")
        ungoverned = writes(mark)

        mark = log.mark()
        site.submit("tickets", dataset__ref={"name": "tickets"})
        site.here.wait_reason("tickets", "AwaitingApproval")
        site.approve("tickets", "bob", site.digest("tickets"))
        assert site.here.wait_ended("tickets") == "Succeeded"
        site.here.wait_event("tickets", "RunSucceeded")
        governed = writes(mark)
    assert len(governed) <= len(ungoverned) + ADDED, f"{tally(governed)} and without {tally(ungoverned)}"
