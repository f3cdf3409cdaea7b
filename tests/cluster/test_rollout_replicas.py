"""Server pods that join under traffic: all of them fetch and load at once, and none is asked before it holds the version."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from finetune_testbed.bed import Testbed
from tests.cluster import operator_process, serving_site
from tests.cluster.operator_process import until
from tests.cluster.serving.pods import AGENT_PORT, Server, held
from tests.cluster.serving_site import FAST, NAME, Site
from tests.engines.forked import request


@pytest.fixture
def site(t1: Testbed, tmp_path: Path) -> Iterator[Site]:
    with serving_site.site(t1, tmp_path) as here:
        arguments = ("--namespace", here.place.namespace, *FAST)
        with operator_process.running(t1.kubeconfig, tmp_path, arguments):
            yield here


def state_of(server: Server, version: str) -> str:
    versions = json.loads(request("GET", f"http://{server.ip}:{AGENT_PORT}/status")[1])["versions"]
    return next((str(entry["state"]) for entry in versions if entry["name"] == version), "")


def asked(server: Server, version: str) -> int:
    """How often the engine was asked for the version by anybody, whether it had it or not."""
    record = json.loads(request("GET", f"{server.url}/faults")[1])
    return int(record["requests"].get(version, 0)) + int(record["unknown"].get(version, 0))


def test_replicas_that_join_load_side_by_side_and_answer_only_with_the_version(site: Site) -> None:
    adapter = site.publish(1)
    version = adapter.name(NAME)
    site.apply(adapter)
    site.wait_phase("Healthy")
    site.program = held(site.program)
    with site.traffic() as load:
        joined = [site.add_server() for _ in range(2)]
        until(lambda: [state_of(server, version) for server in joined] == ["Loading", "Loading"])
        seen = len(load.records)
        until(lambda: len(load.records) >= seen + 60)  # two looks of the router at its pods
        assert [asked(server, version) for server in joined] == [0, 0], "a pod is asked by what its engine lists, not by being there"
        for server in joined:
            server.fault(hold_loads=False)
        until(lambda: [state_of(server, version) for server in joined] == ["Loaded", "Loaded"])
        proofs = [asked(server, version) for server in joined]
        until(lambda: all(asked(server, version) > proof for server, proof in zip(joined, proofs, strict=True)))
    assert not load.failures
    assert {record.version for record in load.records} == {version}
