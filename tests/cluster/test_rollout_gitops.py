"""Git rules a rollout: holding, approving, going back and ending are edits of the spec or a delete, and nobody else writes the spec."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from finetune_testbed.apiserver import APPLY
from finetune_testbed.audit import AuditLog
from finetune_testbed.bed import Testbed
from tests.cluster import operator_process, serving_site
from tests.cluster.finetunejobs import Object
from tests.cluster.operator_process import until
from tests.cluster.serving_site import FAST, NAME, Site, manifest
from tests.kstatus import kstatus

WRITER = "finetune-operator"
HELD = {"canary": {"steps": [{"weight": 50, "bakeSeconds": 1, "analysis": [], "approval": True}]}}


@pytest.fixture
def site(t1: Testbed, tmp_path: Path) -> Iterator[Site]:
    with serving_site.site(t1, tmp_path) as here:
        yield here


def owners_of_spec(found: Object) -> set[str]:
    return {entry["manager"] for entry in found["metadata"]["managedFields"] if "f:spec" in entry["fieldsV1"]}


def reads(site: Site, wanted: str) -> None:
    until(lambda: kstatus(site.get()) == wanted)


def test_git_holds_approves_goes_back_and_ends_and_nobody_else_writes_the_spec(site: Site, tmp_path: Path) -> None:
    log = AuditLog(site.place.bed)
    mark = log.mark()
    arguments = ("--namespace", site.place.namespace, *FAST)
    with operator_process.running(site.place.bed.kubeconfig, tmp_path, arguments):
        first, second = site.publish(1), site.publish(2)
        old, new = first.name(NAME), second.name(NAME)
        site.apply(first, strategy=HELD)
        site.wait_phase("Healthy")
        reads(site, "Current")

        site.apply(second, strategy=HELD)
        site.wait(lambda status: status.get("route", {}).get("canary") == new, "a canary")
        site.apply(second, strategy=HELD, paused=True)
        site.wait(lambda _: site.condition("Ready").get("reason") == "Paused", "paused")
        reads(site, "InProgress")

        site.apply(first, strategy=HELD)
        status = site.wait(lambda status: status["phase"] in ("Healthy", "Retaining") and not status["route"].get("canary"), "back")
        assert status["stable"]["version"] == old
        assert "step" not in status
        until(lambda: site.condition("TrafficApplied")["status"] == "True")
        reads(site, "Current")

        site.apply(second, strategy=HELD, approvedVersion=second.digest)
        status = site.wait_phase("Retaining")
        assert status["stable"]["version"] == new
        reads(site, "Current")

        before = site.get()
        again = manifest(site.place.namespace, NAME, second, {"strategy": HELD, "approvedVersion": second.digest})
        dry = site.place.server.request("PATCH", f"{site.path(NAME)}?fieldManager=git&force=true&dryRun=All", again, APPLY)
        assert dry["spec"] == before["spec"], "what was applied from Git is what lies there, defaults and all"
        assert site.apply(second, strategy=HELD, approvedVersion=second.digest)["metadata"]["generation"] == 5
        assert before["metadata"]["generation"] == 5, "the spec was changed by these edits and by nothing else"
        assert WRITER not in owners_of_spec(before)
        site.delete()
        until(site.gone)

    written = {call.kind for call in log.writes(WRITER, since=mark) if call.namespace == site.place.namespace}
    mine = {kind for kind in written if "adapterdeployments" in kind}
    assert mine <= {"patch adapterdeployments/status", "patch adapterdeployments"}, "the object itself is written for its finalizer"
