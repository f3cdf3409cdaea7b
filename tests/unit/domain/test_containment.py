"""How a governed run is shut in: its network policy comes first, follows the policies, is put back, and goes with the run."""

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from finetune_operator.domain.governance.view import GovernanceView
from finetune_operator.domain.observed import Rejection
from finetune_operator.domain.plan import ObjectReference
from tests.unit.domain.governed import policy, told, view, world
from tests.unit.domain.samples import PROBE, probed, words
from tests.unit.domain.world import World

CLOSED: dict[str, Any] = {"egress": "Closed"}
OPEN_PORT = {"network": {"allow": [{"cidr": "10.0.0.0/24", "ports": [5000]}], "dns": "None"}}


def closed(**changes: Any) -> World:
    return world(view(policy(**{**CLOSED, **changes})))


def only_policy(job: World) -> dict[str, Any]:
    (found,) = job.network_policies.values()
    return found


def test_the_network_policy_is_applied_before_the_first_job_and_selects_every_pod_of_the_run() -> None:
    job = World(spec=world(None).spec, governance=view(policy(**CLOSED)))
    job.labels = {"finetune.dev/level": "internal", "finetune.dev/residency": "any"}
    plan = job.decide()
    assert [child.reference.kind for child in plan.applies] == ["NetworkPolicy"]
    assert {child.reference.kind for child in plan.creates} == {"ConfigMap", "Job"}
    job.reconcile()
    made = only_policy(job)
    assert made["metadata"]["name"] == job.run["name"]
    labels = job.jobs[job.active]["spec"]["template"]["metadata"]["labels"]
    assert made["spec"]["podSelector"]["matchLabels"].items() <= labels.items()
    assert made["spec"]["policyTypes"] == ["Ingress", "Egress"]
    assert made["spec"]["egress"] == []
    assert made["metadata"]["labels"]["finetune.dev/level"] == "internal"


def test_it_costs_one_write_and_is_applied_once() -> None:
    plain, shut = world(view(policy(egress="Open"))), closed()
    before = shut.writes
    for _ in range(3):
        shut.settle()
    assert shut.writes == before == plain.writes + 1
    assert plain.network_policies == {}


def test_it_follows_the_policies_and_is_put_back_under_a_running_pod() -> None:
    job = closed()
    job.run_pod()
    job.governance = view(policy(**CLOSED, **OPEN_PORT, generation=2))
    job.settle()
    assert only_policy(job)["spec"]["egress"][0]["to"] == [{"ipBlock": {"cidr": "10.0.0.0/24"}}]
    only_policy(job)["spec"]["egress"].append({})
    job.settle()
    assert len(only_policy(job)["spec"]["egress"]) == 1
    job.network_policies.clear()
    job.settle()
    assert len(job.network_policies) == 1


def test_what_was_closed_stays_closed_for_the_run() -> None:
    job = closed()
    job.governance = view(policy(egress="Open", generation=2))
    job.settle()
    assert len(job.network_policies) == 1


UNREACHED = replace(view(policy(**CLOSED)), target_reached=False)


def test_every_step_of_a_closed_run_is_probed_before_it_where_no_data_are_mounted() -> None:
    job = closed()
    for step in ("prepare", "train", "publish"):
        (preflight,) = job.pod_spec["initContainers"]
        assert preflight["args"][0] == "preflight"
        assert preflight["args"][preflight["args"].index("--outside") + 1] == PROBE.outside
        assert [mount["name"] for mount in preflight["volumeMounts"]] == ["run", "order"]
        arguments = job.pod_spec["containers"][0]["args"]
        assert ("--egress-outside" in arguments) == (step == "train")
        job.step_through()
    assert told(job, "Ready")[1] == "RunSucceeded"
    said = {each["step"]: each for each in job.run["egress"]}
    assert {step: (each["result"], each["digest"]) for step, each in said.items()} == {
        step: ("Closed", probed().content_digest()) for step in ("prepare", "train", "publish")
    }


def test_an_open_run_is_not_probed() -> None:
    job = world(view(policy(egress="Open")))
    (preflight,) = job.pod_spec["initContainers"]
    assert "--outside" not in preflight["args"]
    job.finish()
    assert "egress" not in job.run


def test_a_probe_costs_no_write() -> None:
    probed_, plain = closed(), world(view(policy(egress="Open")))
    for job in (probed_, plain):
        job.finish()
    assert probed_.writes == plain.writes + 1  # the network policy's


def test_a_way_outside_ends_the_run_before_anything_is_mounted_and_says_what_answered() -> None:
    job = closed()
    job.find_open(PROBE.outside)
    job.settle()
    assert job.run["outcome"] == "Failed"
    assert told(job, "Ready")[:2] == ("False", "EgressNotEnforced")
    assert PROBE.outside in told(job, "Ready")[2]
    assert told(job, "Governed")[:2] == ("False", "EgressNotEnforced")
    assert job.run["egress"][0]["result"] == "Open"
    assert job.created[1:] == [f"{job.run['name']}-prepare-1"]
    job.change(rerun="again")
    job.settle()
    assert job.run["number"] == 2  # the network may have been mended: another run finds out


def test_the_verdict_survives_a_pod_that_is_gone_with_its_words() -> None:
    job = closed()
    job.find_open(PROBE.outside)
    del job.pods[job.created[-1]]
    job.tick(10)
    job.settle()
    assert told(job, "Ready")[1] == "EgressNotEnforced"


def test_a_way_that_opens_while_it_trains_ends_the_run_with_what_is_sealed() -> None:
    job = closed()
    job.step_through()
    job.run_pod()
    job.settle()
    job.end_pod(77, sealed=40, egress=probed("example.com", rounds=7))
    job.settle()
    assert told(job, "Ready")[:2] == ("False", "EgressNotEnforced")
    assert told(job, "Trained")[1] == "EgressNotEnforced"
    assert job.run["lastSealedStep"] == 40
    train = next(each for each in job.run["egress"] if each["step"] == "train")
    assert (train["result"], train["rounds"], train["watchDigest"]) == ("Open", 7, probed("example.com", rounds=7).content_digest())


def test_without_a_target_that_answers_the_operator_nothing_begins_and_with_one_it_does() -> None:
    job = world(UNREACHED)
    assert job.created == []
    assert told(job, "Ready")[:2] == ("False", "EgressProbeInconclusive")
    job.governance = view(policy(**CLOSED))
    job.settle()
    job.finish()
    assert told(job, "Ready")[1] == "RunSucceeded"
    job.governance = UNREACHED
    job.settle()
    assert told(job, "Ready")[1] == "RunSucceeded"  # what was proven then stays proven


@pytest.mark.parametrize("step", ["prepare", "train"])
def test_a_target_that_ceased_to_answer_before_the_probe_proves_nothing_and_the_pod_is_stopped(step: str) -> None:
    job = closed()
    if step == "train":
        job.step_through()
    job.governance = UNREACHED
    job.run_pod()
    job.settle()
    assert job.jobs[job.active]["metadata"]["deletionTimestamp"]
    assert job.run["interruption"]["reason"] == "EgressProbeInconclusive"
    job.clear()
    assert told(job, "Ready")[1] == "EgressProbeInconclusive"
    job.governance = view(policy(**CLOSED))
    job.clear()
    job.finish()
    assert told(job, "Ready")[1] == "RunSucceeded"


def test_a_target_that_ceases_to_answer_later_stops_no_training_that_was_proven() -> None:
    job = closed()
    job.step_through()
    job.run_pod()
    job.settle()
    job.governance = UNREACHED
    job.settle()
    assert told(job, "Governed")[:2] == ("True", "Allowed")
    job.end_pod()
    job.settle()
    assert told(job, "Ready")[1] == "EgressProbeInconclusive"  # the next pod has to be proven anew


def test_egress_that_must_be_closed_only_now_was_open_to_the_data_already() -> None:
    job = world(view(policy(egress="Open")))
    job.step_through()
    job.governance = view(policy(**CLOSED, generation=2))
    job.end_pod(74)
    job.settle()
    assert told(job, "Ready")[1] == "EgressProbeInconclusive"
    assert "no probe has run" in told(job, "Ready")[2]


CLASS = "gpu.node-restriction.kubernetes.io/class"
PINNED = policy(nodeLabels=[{"key": CLASS, "values": ["a", "b"]}], runtimeClassName="kata")


def on(**nodes: dict[str, str]) -> GovernanceView:
    return replace(view(PINNED), nodes={name.replace("_", "-"): labels for name, labels in nodes.items()})


def test_every_step_runs_where_and_as_the_policies_say_whatever_the_spec_says() -> None:
    job = world(on(node_1={CLASS: "a"}), resources={"runtimeClassName": "nvidia", "nodeSelector": {"pool": "x"}})
    for step in ("prepare", "train", "publish"):
        pod = job.pod_spec
        terms = pod["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
        assert terms == [{"matchExpressions": [{"key": CLASS, "operator": "In", "values": ["a", "b"]}]}]
        assert pod["runtimeClassName"] == "kata"
        assert ("nodeSelector" in pod) == (step == "train")
        job.step_through()
    assert job.run["outcome"] == "Succeeded"


def test_without_a_node_that_may_have_it_not_even_prepare_begins_and_with_one_it_does() -> None:
    job = world(on(node_1={CLASS: "c"}, node_2={}))
    assert job.created == []
    status, reason, message = told(job, "Ready")
    assert (status, reason) == ("False", "NoCompliantNode")
    assert "none of 2 kinds of node does" in message
    job.governance = on(node_1={CLASS: "b"}, node_2={CLASS: "c"})
    job.settle()
    job.finish()
    assert told(job, "Ready")[1] == "RunSucceeded"
    job.governance = on()
    job.settle()
    assert told(job, "Ready")[1] == "RunSucceeded"  # a node that goes takes nothing away from what is published


def test_a_node_relabelled_under_a_pod_stops_it_and_another_one_takes_the_run_on() -> None:
    job = world(on(node_1={CLASS: "a"}))
    job.step_through()
    job.run_pod()
    job.settle()
    job.governance = on(node_1={CLASS: "stolen"}, node_2={CLASS: "b"})
    job.settle()
    assert job.jobs[job.active]["metadata"]["deletionTimestamp"]
    assert told(job, "Governed")[:2] == ("False", "ResidencyViolation")
    assert "lacks a label" in told(job, "Governed")[2]
    assert job.run["interruption"]["reason"] == "ResidencyViolation"
    job.clear()
    assert told(job, "Governed")[:2] == ("True", "Allowed")
    assert job.run["attempt"] == 2
    job.governance = on(node_1={CLASS: "b"})  # where the pods of this world run
    job.finish()
    assert told(job, "Ready")[1] == "RunSucceeded"


def test_a_node_that_only_an_auditing_policy_refuses_stops_nothing() -> None:
    audited = policy(mode="Audit", nodeLabels=[{"key": CLASS, "values": ["a"]}])
    job = world(replace(view(audited), nodes={"node-1": {CLASS: "c"}}))
    job.run_pod()
    job.settle()
    assert told(job, "Governed")[:2] == ("True", "Allowed")
    assert "NoCompliantNode" in told(job, "Governed")[2]
    assert "affinity" not in job.pod_spec


def test_two_policies_that_ask_for_two_runtime_classes_let_no_pod_begin() -> None:
    job = world(view(policy(runtimeClassName="kata"), policy("other", runtimeClassName="gvisor")))
    assert job.created == []
    assert told(job, "Ready")[1] == "NoCompliantNode"


def test_nothing_begins_where_the_network_policy_is_refused() -> None:
    job = World(spec=world(None).spec, governance=view(policy(**CLOSED)))
    job.labels = {"finetune.dev/level": "internal", "finetune.dev/residency": "any"}
    name = job.decide().applies[0].reference.name
    refused = ObjectReference("networking.k8s.io/v1", "NetworkPolicy", "support", name)
    job.rejections = (Rejection(refused, "Forbidden", "may not apply networkpolicies", job.now),)
    job.settle()
    assert job.created == []
    assert told(job, "Ready")[1] == "Forbidden"


def test_a_governed_train_step_is_told_what_prepare_has_sealed_and_other_bytes_end_the_run() -> None:
    job, plain = world(view(policy(egress="Open"))), world(None)
    for each in (job, plain):
        each.step_through()
        arguments = each.pod_spec["containers"][0]["args"]
        flags = dict(pairwise(arguments))
        expected = (each.run["inputs"]["datasetDigest"], each.run["inputs"]["baseDigest"]) if each is job else (None, None)
        assert (flags.get("--data-digest"), flags.get("--base-digest")) == expected
        each.end_pod(65, message=words("train", each.run["key"], 65, reason="DigestMismatch"))
        each.settle()
        assert each.run["outcome"] == "Failed"
        assert told(each, "Ready")[1] == ("DigestMismatch" if each is job else "DataRejected")
        assert not any("publish" in name for name in each.created)


@pytest.mark.parametrize("said", ["DatasetDamaged", "BaseModelChanged"])
def test_sealed_bytes_that_were_changed_are_other_bytes_too(said: str) -> None:
    job = world(view(policy(egress="Open")))
    job.step_through()
    code = 66 if said == "BaseModelChanged" else 65
    job.end_pod(code, message=words("train", job.run["key"], code, reason=said))
    job.settle()
    assert told(job, "Ready")[1] == "DigestMismatch"
