"""The statuses of policies and registered data, by an operator of the whole cluster: said at once, and written only when they change."""

from typing import Any

from finetune_operator.api.crd import GOVERNANCEPOLICY
from finetune_testbed.audit import AuditLog, tally
from tests.cluster import crd
from tests.cluster.governed_site import Site
from tests.cluster.operator_process import OperatorProcess, until
from tests.cluster.test_operator_budget import WRITER, rest, settled


def policy_status(site: Site, name: str = "house") -> dict[str, Any]:
    found: dict[str, Any] = site.here.server.request("GET", f"{crd.path_of(GOVERNANCEPOLICY)}/{site.here.namespace}-{name}")
    status: dict[str, Any] = found.get("status") or {}
    return status if status.get("observedGeneration") == found["metadata"]["generation"] else {}


def reason(status: dict[str, Any]) -> str:
    return next((str(condition["reason"]) for condition in status.get("conditions") or []), "")


def test_a_policy_says_whom_it_concerns_how_jobs_fare_and_what_nobody_can_meet(operator: OperatorProcess, onprem: None, site: Site) -> None:
    here = site.here
    site.demand(zones=["onprem"], dataSources=["*"], licences={"allow": ["*"]})
    site.register()
    assert until(lambda: reason(policy_status(site))) == "InForce"
    assert policy_status(site)["matchedNamespaces"] == [here.namespace]
    site.submit("tickets", dataset__ref={"name": "tickets"})
    site.submit("refused", {"finetune.dev/level": "secret"})
    assert here.wait_ended("tickets") == "Succeeded"
    until(lambda: (policy_status(site).get("jobs") or {}) == {"allowed": 1, "held": 0, "needApproval": 0, "denied": 1})
    used = until(lambda: found if (found := site.registered()).get("artifacts") == 1 else {})
    assert (reason(used), used["jobs"]) == ("Registered", 1)
    assert used["lastUsedAt"] == here.status("tickets")["currentRun"]["startedAt"]

    site.demand("other", zones=["eu-de"])
    until(lambda: reason(policy_status(site)) == "PolicyConflict")
    assert f"{here.namespace}-other" in policy_status(site)["conflicts"][0]
    site.demand("other", zones=["eu-de"], mode="Audit")
    until(lambda: reason(policy_status(site)) == "InForce")

    log = AuditLog(here.bed)
    until(lambda: policy_status(site, "other").get("jobs") is not None)
    mark = settled(log)
    stranger = f"{here.namespace}-stranger"  # news, of which there is nothing to say
    here.server.request("POST", "/api/v1/namespaces", {"metadata": {"name": stranger}})
    rest()
    here.server.request("DELETE", f"/api/v1/namespaces/{stranger}")
    quiet = [call for call in log.writes(WRITER, since=mark) if not call.is_lease]
    assert quiet == [], tally(quiet)

    here.delete("tickets")
    assert until(lambda: found if (found := site.registered()).get("jobs") == 0 else {})["lastUsedAt"] == used["lastUsedAt"]
