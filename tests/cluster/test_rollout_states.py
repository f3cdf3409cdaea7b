"""States of a rollout on a real API server: the conditions, what ``kubectl get`` prints and what kstatus reads are those of the table.

Every status that the operator ever writes on the way is held against what its reason promises, and not only those that a look meets.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from finetune_operator.api.adapterdeployment.reasons import EXPLANATIONS, Reason
from finetune_operator.api.base import GROUP, LABEL_SERVING_ROLE, VERSION
from finetune_testbed.apiserver import MERGE
from finetune_testbed.bed import Testbed
from tests.cluster import operator_process, serving_site
from tests.cluster.finetunejobs import Object
from tests.cluster.operator_process import PATIENCE, OperatorProcess, until
from tests.cluster.serving_site import FAST, NAME, Site
from tests.cluster.watching import Watch
from tests.kstatus import kstatus
from tests.serving.rollout.states import EXPECTED, Seen, seen

TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"
DONE = (Reason.HEALTHY.value, Reason.PROMOTED.value)
BAKED_AT_ONCE = {"bakeSeconds": 0, "analysis": []}
HELD = {"strategy": {"canary": {"steps": [{"weight": 50, **BAKED_AT_ONCE, "approval": True}]}}}
OPEN = {"strategy": {"canary": {"steps": [{"weight": 50, **BAKED_AT_ONCE}]}}}
LONG = {"strategy": {"canary": {"steps": [{"weight": 50, "bakeSeconds": 3600}]}}}


class StateWatch(Watch):
    """``told``: deployment, reason of Ready and what kstatus read, of every status once stored; ``wrong`` are those that do not agree."""

    def __init__(self, bed: Testbed, namespace: str) -> None:
        super().__init__(bed, f"/apis/{GROUP}/{VERSION}/namespaces/{namespace}/adapterdeployments")
        self.told: set[tuple[str, str, str]] = set()
        self.wrong: list[str] = []

    def take(self, kind: str, found: dict[str, Any]) -> None:
        name, status = found["metadata"]["name"], found.get("status")
        if kind == "DELETED" or not status:
            return
        reason = next(each["reason"] for each in status["conditions"] if each["type"] == "Ready")
        read, wanted = kstatus(found), promised(found, reason)
        self.told.add((name, reason, read))
        if read != wanted:
            self.wrong.append(f"{name}: {status['phase']} {reason} reads {read}, not {wanted}")


def promised(found: Object, reason: str) -> str:
    """By what the documentation of reasons says of this one."""
    metadata = found["metadata"]
    if "deletionTimestamp" in metadata:
        return "Terminating"
    if found["status"]["observedGeneration"] != metadata["generation"]:
        return "InProgress"
    if EXPLANATIONS[Reason(reason)].stalls:
        return "Failed"
    return "Current" if reason in DONE else "InProgress"


@dataclass
class Scene:
    site: Site
    states: StateWatch

    def look(self, name: str = NAME) -> Seen:
        """As ``kubectl get`` prints it: the server makes the columns."""
        path = f"{self.site.path(name)}?includeObject=Object"
        table = self.site.place.server.request("GET", path, accept=TABLE)
        narrow = [place for place, column in enumerate(table["columnDefinitions"]) if column["priority"] == 0]
        (row,) = table["rows"]
        columns = ["" if row["cells"][place] is None else str(row["cells"][place]) for place in narrow[1:-1]]
        return seen(row["object"], columns)

    def looks_like(self, state: str, name: str = NAME) -> None:
        """Comes to be as the table says, but for the names of versions and the number of pods."""
        wanted, last = EXPECTED[state], None

        def same() -> bool:
            nonlocal last
            if not self.site.status(name).get("conditions"):
                return False
            last = self.look(name)
            return comparable(last) == comparable(wanted)

        try:
            until(same, PATIENCE)
        except AssertionError:
            status = json.dumps(self.site.status(name), indent=1)[:5000]
            raise AssertionError(f"never {state}: {wanted}\nbut {last}\n{status}") from None


def comparable(row: Seen) -> tuple[object, ...]:
    return row.kstatus, row.phase, row.summary, row.others, row.filled


@pytest.fixture
def scene(t1: Testbed, tmp_path: Path) -> Iterator[Scene]:
    with serving_site.site(t1, tmp_path, servers=0, routers=0) as site, StateWatch(t1, site.place.namespace) as states:
        yield Scene(site, states)
        states.catch_up()
        assert states.wrong == []


@pytest.fixture
def operator(scene: Scene, tmp_path: Path) -> Iterator[OperatorProcess]:
    place = scene.site.place
    with operator_process.running(place.bed.kubeconfig, tmp_path, ("--namespace", place.namespace, *FAST)) as process:
        yield process


def test_what_serves_nothing_yet(scene: Scene, operator: OperatorProcess) -> None:
    site, first = scene.site, scene.site.publish(1)
    site.apply(first, adapter={"fineTuneJobRef": {"name": "trainer"}})
    scene.looks_like("no such job")
    site.place.apply("trainer")
    scene.looks_like("no artifact yet")
    site.place.patch("trainer", {"runPolicy": {"cancel": 1}})
    scene.looks_like("the job's run failed")
    assert "FineTuneJob trainer has no artifact" in site.condition("Stalled")["message"]
    site.apply(first, preflight={})
    scene.looks_like("not evaluated")
    site.apply(first)
    scene.looks_like("no server pod")
    site.add_server()
    scene.looks_like("no router")
    add_router_that_waits(site)
    site.wait(lambda _: "Secret pins, which it mounts" in site.condition("Ready")["message"], "told why there is no router")
    assert "serving.pinSecret" in site.condition("TrafficApplied")["message"]
    scene.looks_like("no router")
    site.apply(first, "second", modelName=NAME)
    scene.looks_like("alias taken", "second")
    site.add_router()
    scene.looks_like("healthy")
    site.place.server.request("DELETE", site.place.path("pods", "server-0"), {"gracePeriodSeconds": 0})
    scene.looks_like("serving, every pod lost")
    site.add_server()
    scene.looks_like("healthy")
    site.tell_ready("router-0", ready=False)
    scene.looks_like("serving, every router lost")
    site.tell_ready("router-0", ready=True)
    scene.looks_like("healthy")
    site.delete()
    until(site.gone)
    scene.looks_like("no server pod", "second")


def add_router_that_waits(site: Site) -> None:
    """As the kubelet tells it, once its mount has failed for a while."""
    place, server = site.place, site.place.server
    begun, now = (datetime.now(UTC) + timedelta(seconds=each) for each in (-60, 0))
    document = {
        "metadata": {"name": "finetune-router-0-x", "labels": {LABEL_SERVING_ROLE: "router"}},
        "spec": {"containers": [{"name": "router", "image": "registry.invalid/none:0"}]},
    }
    pod = server.request("POST", place.path("pods"), document)
    event = {
        "metadata": {"generateName": "pin-"},
        "type": "Warning",
        "reason": "FailedMount",
        "message": 'MountVolume.SetUp failed for volume "pin" : secret "pins" not found',
        "lastTimestamp": now.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "involvedObject": {"kind": "Pod", **{part: pod["metadata"][part] for part in ("namespace", "name", "uid")}},
    }
    server.request("POST", place.path("events"), event)
    container = {"name": "router", "image": "", "imageID": "", "state": {"waiting": {"reason": "ContainerCreating"}}}
    status = {"startTime": begun.strftime("%Y-%m-%dT%H:%M:%SZ"), "containerStatuses": [{**container, "ready": False, "restartCount": 0}]}
    server.request("PATCH", place.path("pods", "finetune-router-0-x") + "/status", {"status": status}, MERGE)


def test_a_rollout_that_is_held_taken_back_approved_and_ended(scene: Scene, operator: OperatorProcess) -> None:
    site = scene.site
    site.add_server()
    site.add_router()
    first, second, third = (site.publish(number) for number in (1, 2, 3))
    refused = site.publish(4, config={"use_dora": True})
    site.apply(first, **HELD)
    scene.looks_like("healthy")
    site.apply(second, **HELD, paused=True)
    scene.looks_like("held before the first step")
    site.apply(second, **HELD)
    scene.looks_like("a step awaits approval")
    site.apply(second, **HELD, paused=True)
    scene.looks_like("paused")
    site.apply(first, **HELD)
    scene.looks_like("healthy")
    site.apply(second, **OPEN)
    scene.looks_like("retaining")
    site.apply(refused, **OPEN)
    scene.looks_like("the adapter is refused")
    site.apply(third, **LONG)
    scene.looks_like("baking")
    site.order("prommote:1")
    until(lambda: len(ignored(site)) == 1, PATIENCE)
    site.order("abort:1")
    scene.looks_like("aborted")
    (told,) = ignored(site)
    assert (told["type"], "'prommote:1' changes nothing" in told["note"]) == ("Warning", True)
    site.delete()
    until(site.gone)
    scene.states.catch_up()
    assert (NAME, "Draining", "Terminating") in scene.states.told


def ignored(site: Site) -> list[Object]:
    """Events about orders that nothing comes of."""
    events = site.place.server.request("GET", site.place.path("events", group="events.k8s.io/v1"))["items"]
    return [event for event in events if event["reason"] == Reason.ORDER_IGNORED]


def test_a_canary_that_fails_its_check(scene: Scene, operator: OperatorProcess) -> None:
    site = scene.site
    site.add_server()
    site.add_router()
    first, second = site.publish(1), site.publish(2)
    strict = {"strategy": {"canary": {"steps": [{"weight": 50, "bakeSeconds": 3600, "analysis": ["Errors"]}]}}}
    by_hand = {"rollback": {"automatic": False, "drainTimeoutSeconds": 2}}
    site.apply(first, **strict, **by_hand)
    scene.looks_like("healthy")
    site.servers[0].fault(error_share={second.name(NAME): 0.5})
    with site.traffic():
        site.apply(second, **strict, **by_hand)
        scene.looks_like("a check failed and a person decides")
        site.apply(second, **strict)
        scene.looks_like("rolled back")
    scene.states.catch_up()
    told = {(reason, read) for _, reason, read in scene.states.told}
    assert ("RollingBack", "InProgress") in told
