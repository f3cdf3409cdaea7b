"""A run from manifest to artifact on a control plane with fake nodes, by the real operator process."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from finetune_operator.api.base import FIELD_MANAGER, LABEL_STEP
from finetune_testbed.apiserver import MERGE
from tests.cluster.finetunejobs import Object, Place
from tests.cluster.operator_process import OperatorProcess, until


def test_a_manifest_becomes_an_artifact(operator: OperatorProcess, here: Place) -> None:
    here.apply("first")
    assert here.wait_ended("first") == "Succeeded"
    status = here.status("first")
    assert status["phase"] == "Ready"
    assert {c["type"]: c["status"] for c in status["conditions"]}["Ready"] == "True"
    assert [entry["outcome"] for entry in status["history"]] == ["Succeeded"]
    assert status["artifact"]["digest"].startswith("sha256:")
    steps = sorted(job["metadata"]["labels"]["finetune.dev/step"] for job in here.jobs("first"))
    assert steps == ["prepare", "publish", "train"]


def test_events_are_few_and_name_transitions(operator: OperatorProcess, here: Place) -> None:
    here.apply("eventful")
    here.wait_ended("eventful")
    events = here.wait_event("eventful", "RunSucceeded")
    assert len(events) <= 5
    assert len({(event["reason"], event["note"]) for event in events}) == len(events)
    assert all(event["reportingController"].endswith(FIELD_MANAGER) for event in events)


def test_deleting_the_job_ends_its_children_and_its_key(operator: OperatorProcess, here: Place) -> None:
    here.apply("gone")
    until(lambda: here.jobs("gone"))
    here.delete("gone")
    until(lambda: not here.jobs("gone") and not here.config_maps("gone"))
    until(lambda: operator.metric('finetune_cache_objects{resource="finetunejobs"}') == 0)
    assert not operator.messages("error")


def test_the_log_says_each_transition_once_with_key_generation_and_run(operator: OperatorProcess, here: Place) -> None:
    here.apply("logged")
    here.wait_ended("logged")
    lines = [line for line in operator.logs if line.get("key") == f"{here.namespace}/logged" and "conditions" in line]
    assert lines
    assert all(line["generation"] == 1 and line["run"] for line in lines)
    assert len({str(line["conditions"]) + line["message"] for line in lines}) == len(lines)


RUNTIME_CLASSES = "/apis/node.k8s.io/v1/runtimeclasses"


@contextmanager
def reserved_node(here: Place) -> Iterator[str]:
    """A node that only the pods of this namespace select and tolerate, and a runtime class, both named after it."""
    name = here.server.request("GET", "/api/v1/nodes")["items"][0]["metadata"]["name"]
    path = f"/api/v1/nodes/{name}"
    taints = here.server.request("GET", path)["spec"].get("taints", [])
    here.server.request("POST", RUNTIME_CLASSES, {"metadata": {"name": here.namespace}, "handler": "nvidia"})
    reserved = {"key": "reserved", "value": here.namespace, "effect": "NoSchedule"}
    here.server.request("PATCH", path, {"metadata": {"labels": {"pool": here.namespace}}, "spec": {"taints": [*taints, reserved]}}, MERGE)
    try:
        yield str(name)
    finally:
        here.server.request("PATCH", path, {"metadata": {"labels": {"pool": None}}, "spec": {"taints": taints}}, MERGE)
        here.server.request("DELETE", f"{RUNTIME_CLASSES}/{here.namespace}")


def test_the_training_pod_gets_the_accelerator_and_the_node_that_were_asked_for(operator: OperatorProcess, here: Place) -> None:
    tolerated = {"key": "reserved", "operator": "Equal", "value": here.namespace, "effect": "NoSchedule"}
    resource = here.bed.settings.gpu_resource
    asked: dict[str, Any] = {
        "gpusPerNode": 2,
        "gpuResourceName": resource,
        "runtimeClassName": here.namespace,
        "nodeSelector": {"pool": here.namespace},
        "tolerations": [tolerated],
    }
    with reserved_node(here) as node:
        here.apply("accelerated", resources=asked)
        assert here.wait_ended("accelerated") == "Succeeded"
        pods = {pod["metadata"]["labels"][LABEL_STEP]: pod["spec"] for pod in here.pods("accelerated")}
    train = pods.pop("train")
    assert train["containers"][0]["resources"]["limits"][resource] == "2"
    assert train["runtimeClassName"] == here.namespace
    assert train["nodeSelector"] == {"pool": here.namespace}
    assert tolerated in train["tolerations"]
    assert train["nodeName"] == node
    assert set(pods) == {"prepare", "publish"}
    assert all(holds_no_accelerator(pod, resource) for pod in pods.values())


def holds_no_accelerator(pod: Object, resource: str) -> bool:
    amounts = pod["containers"][0]["resources"]
    return "runtimeClassName" not in pod and resource not in {**amounts.get("limits", {}), **amounts.get("requests", {})}
