"""Fake pods end as their annotations say, and well by themselves."""

import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from finetune_testbed import outcomes
from finetune_testbed.apiserver import MERGE, ApiServer
from finetune_testbed.bed import Testbed
from finetune_testbed.fake_nodes import LOST_LABEL
from finetune_testbed.outcomes import PodOutcome
from finetune_trainer.contract.outcome import FailureClass, TerminationMessage

PODS = "/api/v1/namespaces/default/pods"
JOBS = "/apis/batch/v1/namespaces/default/jobs"


def until(look: Callable[[], Any], seconds: float = 120.0) -> Any:
    """The first true answer."""
    deadline = time.monotonic() + seconds
    while not (answer := look()):
        assert time.monotonic() < deadline, f"still {answer!r} after {seconds} s"
        time.sleep(0.05)
    return answer


def job(name: str, outcome: PodOutcome | None = None, labels: dict[str, str] | None = None) -> dict[str, Any]:
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name},
        "spec": {
            "backoffLimit": 0,
            "template": {
                "metadata": {"annotations": outcome.annotations() if outcome else {}, "labels": labels or {}},
                "spec": {
                    "restartPolicy": "Never",
                    "containers": [{"name": "main", "image": "fake.invalid/step:1", "resources": {"limits": {"nvidia.com/gpu": "8"}}}],
                },
            },
        },
    }


@pytest.fixture
def server(t2: Testbed) -> Iterator[ApiServer]:
    with ApiServer(t2) as connection:
        yield connection


def pod_of(server: ApiServer, name: str) -> dict[str, Any]:
    items: list[dict[str, Any]] = server.request("GET", f"{PODS}?labelSelector=job-name%3D{name}")["items"]
    return items[0] if items else {}


def phase(server: ApiServer, name: str) -> str:
    return str(pod_of(server, name).get("status", {}).get("phase", ""))


def terminated(server: ApiServer, name: str) -> dict[str, Any]:
    until(lambda: phase(server, name) in {"Succeeded", "Failed"})
    ended: dict[str, Any] = pod_of(server, name)["status"]["containerStatuses"][0]["state"]["terminated"]
    return ended


def conditions(server: ApiServer, name: str) -> dict[str, dict[str, Any]]:
    status = server.request("GET", f"{JOBS}/{name}")["status"]
    return {condition["type"]: condition for condition in status.get("conditions", []) if condition["status"] == "True"}


@pytest.mark.parametrize("step", ["prepare", "train", "publish"])
def test_a_pod_of_a_step_ends_with_the_message_that_the_trainer_would_write(server: ApiServer, step: str) -> None:
    name = f"canned-{step}"
    server.request("POST", JOBS, job(name, labels={"finetune.dev/step": step, "finetune.dev/run": "0123456789ab"}))
    ended = terminated(server, name)
    assert ended["exitCode"] == 0
    message = TerminationMessage.from_json(ended["message"])
    assert (message.step, message.outcome) == (step, FailureClass.DONE)
    assert message.summary is not None
    assert getattr(message.summary, step) is not None
    until(lambda: "Complete" in conditions(server, name))


def test_exit_code_reason_and_message_come_from_the_pods_annotations(server: ApiServer) -> None:
    text = 'row 17: "quoted" & <angled> ü\nsecond line'
    server.request("POST", JOBS, job("killed", PodOutcome(exit_code=137, reason="OOMKilled", termination_message=text)))
    ended = terminated(server, "killed")
    assert (ended["exitCode"], ended["reason"], ended["message"]) == (137, "OOMKilled", text)
    until(lambda: "Failed" in conditions(server, "killed"))


def test_a_pod_runs_as_long_as_asked(server: ApiServer) -> None:
    began = time.monotonic()
    server.request("POST", JOBS, job("runs", PodOutcome(run_seconds=1.5)))
    terminated(server, "runs")
    assert time.monotonic() - began >= 1.5


def test_a_test_can_answer_in_a_pods_place(t2: Testbed, server: ApiServer) -> None:
    server.request("POST", JOBS, job("answers", PodOutcome(hold=True)))
    until(lambda: phase(server, "answers") == "Running")
    address = pod_of(server, "answers")["status"]["podIP"]
    with socket.create_server((address, 0)) as free:
        port = free.getsockname()[1]  # not the trainer's own, which a trainer of another test may serve on every address
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((address, port), timeout=2)
    with socket.create_server((address, port)), socket.create_connection((address, port), timeout=2):
        outcomes.release(t2, "default", pod_of(server, "answers")["metadata"]["name"])


def test_a_held_pod_runs_until_it_is_released(t2: Testbed, server: ApiServer) -> None:
    server.request("POST", JOBS, job("held", PodOutcome(hold=True)))
    until(lambda: phase(server, "held") == "Running")
    outcomes.release(t2, "default", pod_of(server, "held")["metadata"]["name"], PodOutcome(exit_code=3))
    assert terminated(server, "held")["exitCode"] == 3


def test_a_waiting_pod_says_why_and_goes_on_when_released(t2: Testbed, server: ApiServer) -> None:
    server.request("POST", JOBS, job("pulls", PodOutcome(waiting_reason="ImagePullBackOff", waiting_message="no such image")))
    waiting = until(lambda: (pod_of(server, "pulls").get("status", {}).get("containerStatuses") or [{}])[0].get("state", {}).get("waiting"))
    assert waiting == {"reason": "ImagePullBackOff", "message": "no such image"}
    outcomes.release(t2, "default", pod_of(server, "pulls")["metadata"]["name"])
    assert terminated(server, "pulls")["exitCode"] == 0


@pytest.fixture
def lingering_pod(server: ApiServer) -> Iterator[str]:
    """A running pod that stays visible after its deletion, until the test has looked."""
    name = "lingering"
    annotations = PodOutcome(hold=True, term_exit_code=75).annotations()
    pod = {
        "metadata": {"name": name, "annotations": annotations, "finalizers": ["tests.finetune.dev/look"]},
        "spec": {"restartPolicy": "Never", "containers": [{"name": "main", "image": "fake.invalid/step:1"}]},
    }
    server.request("POST", PODS, pod)
    until(lambda: server.request("GET", f"{PODS}/{name}")["status"]["phase"] == "Running")
    yield name
    server.request("PATCH", f"{PODS}/{name}", {"metadata": {"finalizers": None}}, MERGE)
    until(lambda: name not in [pod["metadata"]["name"] for pod in server.request("GET", PODS)["items"]])


def failed_pod(server: ApiServer, name: str) -> dict[str, Any]:
    until(lambda: server.request("GET", f"{PODS}/{name}")["status"]["phase"] == "Failed")
    status: dict[str, Any] = server.request("GET", f"{PODS}/{name}")["status"]
    return status


def test_a_deleted_pod_ends_as_if_it_had_received_term(server: ApiServer, lingering_pod: str) -> None:
    server.request("DELETE", f"{PODS}/{lingering_pod}")
    status = failed_pod(server, lingering_pod)
    assert status["containerStatuses"][0]["state"]["terminated"]["exitCode"] == 75


def test_an_evicted_pod_is_known_as_disrupted(server: ApiServer, lingering_pod: str) -> None:
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": lingering_pod, "namespace": "default"}}
    server.request("POST", f"{PODS}/{lingering_pod}/eviction", eviction)
    status = failed_pod(server, lingering_pod)
    disrupted = [entry["reason"] for entry in status["conditions"] if entry["type"] == "DisruptionTarget"]
    assert disrupted == ["EvictionByEvictionAPI"]


def test_an_outcome_is_put_on_matching_pods_from_outside(t2: Testbed, server: ApiServer) -> None:
    with outcomes.played(t2, {"app": "chosen"}, PodOutcome(exit_code=65, termination_message='{"reason": "EmptyDataset"}')):
        server.request("POST", JOBS, job("chosen", labels={"app": "chosen"}))
        server.request("POST", JOBS, job("other", labels={"app": "other"}))
        assert terminated(server, "chosen")["exitCode"] == 65
        assert terminated(server, "other")["exitCode"] == 0


def test_a_lost_node_is_unknown_and_its_pods_are_evicted(server: ApiServer) -> None:
    server.request("POST", JOBS, job("stranded", PodOutcome(hold=True)))
    until(lambda: phase(server, "stranded") == "Running")
    node = pod_of(server, "stranded")["spec"]["nodeName"]
    server.request("PATCH", f"/api/v1/nodes/{node}", {"metadata": {"labels": {LOST_LABEL: "true"}}}, MERGE)
    try:
        until(lambda: node_ready(server, node) == "Unknown")
        until(lambda: "Failed" in conditions(server, "stranded"))
    finally:
        server.request("PATCH", f"/api/v1/nodes/{node}", {"metadata": {"labels": {LOST_LABEL: None}}}, MERGE)
    until(lambda: node_ready(server, node) == "True")


def node_ready(server: ApiServer, node: str) -> str:
    listed = server.request("GET", f"/api/v1/nodes/{node}")["status"]["conditions"]
    return str(next(entry["status"] for entry in listed if entry["type"] == "Ready"))
