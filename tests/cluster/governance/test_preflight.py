"""What a pod is told to decide by, as a real API server stores it, and what becomes of a pod that refuses or whose decision has changed."""

import json
from datetime import UTC, datetime, timedelta

from finetune_testbed import outcomes
from finetune_testbed.outcomes import PodOutcome
from finetune_trainer.contract import RunSpec, digest_of
from finetune_trainer.contract.governance import RuleId
from finetune_trainer.contract.governance.order import Order
from finetune_trainer.contract.governance.preflight import Seen, decide_again
from tests.cluster.finetunejobs import Object
from tests.cluster.governed_site import Site
from tests.cluster.operator_process import OperatorProcess, until

WAITS = PodOutcome(waiting_reason="ImagePullBackOff")
ONE = [{"stage": "Train", "count": 1}]
TOKEN_FOUND = {
    "apiVersion": "finetune.dev/v1alpha1",
    "kind": "TerminationMessage",
    "step": "preflight",
    "runKey": "",
    "outcome": "Denied",
    "reason": "ApiTokenMounted",
    "message": "the pod may not begin: 1 finding(s): ApiTokenMounted: serviceAccountToken: a token lies there",
    "hint": "Leave these pods out.",
    "refusals": [{"rule": "ApiTokenMounted", "field": "serviceAccountToken", "policy": "", "remedy": "Leave these pods out."}],
}


def pod_of(site: Site, name: str, attempt: str) -> Object:
    """Of the train step."""
    labels = {"finetune.dev/step": "train", "finetune.dev/attempt": attempt}
    found: Object = until(lambda: next((pod for pod in site.here.pods(name) if labels.items() <= pod["metadata"]["labels"].items()), None))
    return found


def test_a_pod_that_refuses_ends_the_run_by_its_rule_with_one_attempt(operator: OperatorProcess, site: Site) -> None:
    here = site.here
    site.demand(egress="Open")
    refuses = PodOutcome(init_exit_code=78, init_message=json.dumps(TOKEN_FOUND))
    with outcomes.played(here.bed, {"finetune.dev/step": "prepare"}, refuses, name=here.namespace, namespace=here.namespace):
        site.submit("watched")
        assert here.wait_ended("watched") == "Failed"
        assert "Leave these pods out" in here.wait_reason("watched", "ApiTokenMounted")["message"]
        assert here.condition("watched", "Governed")["reason"] == "ApiTokenMounted"
        (pod,) = here.pods("watched")
        assert "waiting" in pod["status"]["containerStatuses"][0]["state"]


def test_a_pod_that_waits_while_its_policy_gets_stricter_is_taken_back_and_its_order_says_what_has_run_out(
    operator: OperatorProcess, site: Site
) -> None:
    here, now = site.here, datetime.now(UTC)
    site.demand(egress="Open", approvals=ONE)
    with outcomes.played(here.bed, {"finetune.dev/step": "train"}, WAITS, name=here.namespace, namespace=here.namespace):
        site.submit("queued")
        site.approve("queued", "bob", site.digest("queued"), expires_at=f"{now + timedelta(hours=1):%Y-%m-%dT%H:%M:%SZ}")
        pod = pod_of(site, "queued", "1")
        text = pod["metadata"]["annotations"]["finetune.dev/order"]
        arguments = pod["spec"]["initContainers"][0]["args"]
        assert arguments[arguments.index("--order-digest") + 1] == digest_of(text.encode())
        run = here.server.request("GET", here.path("configmaps", here.status("queued")["currentRun"]["name"]))
        order, seen = Order.from_json(text), Seen(RunSpec.from_json(run["data"]["run.json"]), "any", None, api_token=False)
        assert not decide_again(order, seen, datetime.now(UTC)).holds_up(order.facts.stage)
        late = decide_again(order, seen, now + timedelta(hours=2))
        assert [finding.rule for finding in late.findings if finding.blocks] == [RuleId.APPROVAL_STALE]
        site.demand(egress="Open", approvals=ONE, requireJustification=True)
        here.wait_reason("queued", "JustificationMissing")
        until(lambda: all(each["metadata"]["labels"]["finetune.dev/step"] != "train" for each in here.pods("queued")))
        assert here.status("queued")["currentRun"]["interruption"]["reason"] == "PolicyDrift"
        site.demand(egress="Open")
        again = pod_of(site, "queued", "2")
        assert Order.from_json(again["metadata"]["annotations"]["finetune.dev/order"]).policies[0].generation == 3
        outcomes.release(here.bed, here.namespace, again["metadata"]["name"])
        assert here.wait_ended("queued") == "Succeeded"
