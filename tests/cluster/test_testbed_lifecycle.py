"""A testbed comes up once, is repaired after crashes, grows with its tier, and goes without a trace."""

import os
import signal
import socket
import time
from collections.abc import Iterator
from dataclasses import astuple
from pathlib import Path

import pytest

from finetune_testbed import apiserver, cli, lifecycle, processes, state, testing
from finetune_testbed.apiserver import ApiServer
from finetune_testbed.bed import Testbed, Tier

pytestmark = pytest.mark.t2


@pytest.fixture
def name(request: pytest.FixtureRequest) -> Iterator[str]:
    """A name nobody else uses, whose testbed is gone afterwards."""
    chosen = testing.own_name("life")
    yield chosen
    lifecycle.down(chosen, print)


def up(name: str, tier: Tier, **settings: object) -> Testbed:
    return lifecycle.up(name, tier, print, {"fsync": False, **settings})


def pids(bed: Testbed) -> dict[str, int]:
    records = {name: processes.read_record(bed, name) for name in processes.recorded(bed)}
    return {name: record.pid for name, record in records.items() if record is not None}


def processes_that_mention(text: str) -> list[str]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if text in command:
            found.append(command)
    return found


def test_a_second_up_changes_and_starts_nothing(name: str) -> None:
    first = up(name, Tier.T2)
    before = pids(first)
    said: list[str] = []
    second = lifecycle.up(name, Tier.T2, said.append, {"fsync": False})
    assert said == [], "whatever is started or built is told"
    assert second == first
    assert pids(second) == before
    assert lifecycle.problems(second) == []


@pytest.mark.parametrize("victim", ["etcd", "kube-apiserver", "kube-scheduler", "kwok"])
def test_up_after_a_crash_restarts_what_died_and_keeps_the_data(name: str, victim: str) -> None:
    bed = up(name, Tier.T2)
    with ApiServer(bed) as server:
        server.request("POST", "/api/v1/namespaces/default/configmaps", {"metadata": {"name": "kept"}})
    before = pids(bed)
    os.kill(before[victim], signal.SIGKILL)
    deadline = time.monotonic() + 120
    while not any(problem.component == victim for problem in lifecycle.problems(bed)):
        assert time.monotonic() < deadline
    up(name, Tier.T2)
    assert lifecycle.problems(bed) == []
    changed = {name for name, pid in pids(bed).items() if pid != before[name]}
    assert victim in changed
    with ApiServer(bed) as server:
        server.request("GET", "/api/v1/namespaces/default/configmaps/kept")


def test_down_leaves_no_process_no_folder_and_no_port(name: str) -> None:
    bed = up(name, Tier.T2)
    assert processes_that_mention(str(bed.state_dir))
    assert lifecycle.down(name, print)
    assert processes_that_mention(str(bed.state_dir)) == []
    assert not bed.state_dir.exists()
    assert state.load(name) is None
    for port in astuple(bed.ports):
        with socket.socket() as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(("127.0.0.1", port))
    assert not lifecycle.down(name, print)


def test_a_tier_is_raised_in_place_and_never_lowered(name: str) -> None:
    low = up(name, Tier.T1)
    server_pid = pids(low)["kube-apiserver"]
    assert "kwok" not in pids(low)
    high = up(name, Tier.T2, fake_nodes=3)
    assert pids(high)["kube-apiserver"] == server_pid
    with ApiServer(high) as server:
        nodes = server.request("GET", "/api/v1/nodes")["items"]
    assert {node["status"]["allocatable"]["nvidia.com/gpu"] for node in nodes} == {"8"}
    assert len(nodes) == 3
    assert up(name, Tier.T1).tier is Tier.T2


def test_other_settings_on_a_running_testbed_take_effect(name: str) -> None:
    up(name, Tier.T2, fake_nodes=3)
    bed = up(name, Tier.T2, fake_nodes=2, gpus_per_node=4, gpu_resource="amd.com/gpu", gpu_taint=True)
    with ApiServer(bed) as server:
        nodes = server.request("GET", "/api/v1/nodes")["items"]
    assert [node["status"]["allocatable"].get("amd.com/gpu") for node in nodes] == ["4", "4"]
    assert not any("nvidia.com/gpu" in node["status"]["capacity"] for node in nodes)
    assert all(taint["key"] == "amd.com/gpu" for node in nodes for taint in node["spec"]["taints"])


def test_two_testbeds_run_side_by_side(name: str) -> None:
    other_name = f"{name}-b"
    try:
        one, other = up(name, Tier.T1), up(other_name, Tier.T1)
        assert not set(astuple(one.ports)) & set(astuple(other.ports))
        assert not one.subnets.everything.overlaps(other.subnets.everything)
        with ApiServer(one) as server:
            server.request("POST", "/api/v1/namespaces", {"metadata": {"name": "only-here"}})
        with ApiServer(other) as server:
            names = {item["metadata"]["name"] for item in server.request("GET", "/api/v1/namespaces")["items"]}
        assert "only-here" not in names
        lifecycle.down(name, print)
        assert apiserver.probe(other) is None
    finally:
        lifecycle.down(other_name, print)


def test_a_stale_record_never_kills_a_stranger(name: str) -> None:
    bed = up(name, Tier.T1)
    record = processes.read_record(bed, "etcd")
    assert record is not None
    # The number of this very test, as if etcd had died and its number been given away.
    stranger = processes.Record(os.getpid(), record.started, record.boot, record.command, record.environment)
    processes.terminate(stranger)
    assert not processes.is_alive(stranger)


def test_the_command_line_tells_what_it_did(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["status", "--name", name]) == 1
    assert f"finetune-testbed up --name {name}" in capsys.readouterr().err
    assert cli.main(["up", "--tier", "T1", "--no-fsync", "--name", name]) == 0
    said = capsys.readouterr().out
    assert "kube-apiserver: serving after" in said
    bed = lifecycle.require(name)
    assert f"export KUBECONFIG={bed.kubeconfig}" in said
    assert cli.main(["kubeconfig", "--name", name]) == 0
    assert capsys.readouterr().out.strip() == str(bed.kubeconfig)
    assert cli.main(["status", "--name", name]) == 0
    assert "T1, healthy" in capsys.readouterr().out
    assert cli.main(["load-image", "some/image:1", "--name", name]) == 1
    assert "only T3 runs images" in capsys.readouterr().err
    assert cli.main(["down", "--name", name]) == 0


def test_the_version_is_stamped(name: str) -> None:
    with ApiServer(up(name, Tier.T1)) as server:
        version = server.request("GET", "/version")
    assert (version["gitVersion"], version["major"], version["minor"]) == ("v1.36.3", "1", "36")
