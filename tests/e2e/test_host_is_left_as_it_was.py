"""`down` leaves nothing on the host, whatever happened before; `up` repairs what was killed."""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from finetune_testbed import hostsnapshot, images, lifecycle, node, processes, state, testing
from finetune_testbed.bed import Testbed, Tier
from finetune_testbed.hostsnapshot import HostSnapshot
from finetune_testbed.node import cgroups, containerd, mounts, sysctls
from tests.e2e.cluster import Cluster, claim, pod

NAME = testing.own_name("traces")
STAY = ["sleep", "1000"]
CHURNING = ("processes", "mounts", "network_namespaces", "cgroups", "loop_devices")
"""Other testbeds of the same host end pods while we look: of these only what appeared counts."""

pytestmark = pytest.mark.t3


@pytest.fixture
def before(t3_host: None) -> Iterator[HostSnapshot]:
    """The host before; whatever a failed test left is taken down."""
    yield look()
    lifecycle.down(NAME, print)


@pytest.fixture
def settings_are_compared() -> Iterator[bool]:
    """Whether kernel settings change and come back; not where another testbed with a real node, such as a kept one, needs them meanwhile.

    One setting is made unlike kubelet's, for a host that was set for Kubernetes before.
    """
    holders = sysctls.RUN / "holders"
    if holders.is_dir() and any(holders.iterdir()):
        yield False
        return
    setting = Path("/proc/sys/kernel/panic")
    found = setting.read_text()
    setting.write_text("11")
    yield True
    setting.write_text(found)


def look() -> HostSnapshot:
    return hostsnapshot.snapshot(ignore=set(state.names()) - {NAME})


def traces(before: HostSnapshot) -> list[str]:
    changes = before.differences(look())
    return [change for change in changes if not (change.startswith(CHURNING) and ": disappeared: " in change)]


def start_with_a_pod() -> tuple[Testbed, Cluster]:
    """A testbed with all that leaves traces: a running pod, a host port, a plain and a mounted volume."""
    bed = lifecycle.up(NAME, Tier.T3, print)
    image = images.ensure_base(bed, print)
    cluster = Cluster(bed, "traces")
    port = [{"containerPort": 8080, "hostPort": 8080}]
    cluster.apply(
        claim("plain", "1Gi"),
        claim("limited", "16Mi", "finetune-limited"),
        pod("stays", image, STAY, volumes={"plain": "/plain", "limited": "/limited"}),
    )
    cluster.wait("pod/stays", "condition=Ready")
    outside = ["--labels=purpose=host-port", f"--image={image}", "--image-pull-policy=Never", "--restart=Never"]
    override = {"spec": {"containers": [{"name": "listens", "image": image, "command": STAY, "ports": port}]}}
    cluster.kubectl("run", "listens", "--namespace=default", *outside, "--overrides", json.dumps(override))
    cluster.kubectl("wait", "--namespace=default", "pod/listens", "--for=condition=Ready", "--timeout=300s")
    return bed, cluster


def kill(bed: Testbed, *names: str) -> None:
    for name in names:
        record = processes.read_record(bed, name)
        assert record is not None
        os.kill(record.pid, signal.SIGKILL)


def test_nothing_is_left_after_down(settings_are_compared: bool, before: HostSnapshot) -> None:
    start_with_a_pod()
    seen = {change.split(":")[0] for change in traces(before)}
    assert {"processes", "mounts", "network_namespaces", "links", "routes", "cgroups"} <= seen, "what a running testbed must show"
    assert settings_are_compared == ("sysctls" in seen)
    lifecycle.down(NAME, print)
    assert traces(before) == []
    assert state.load(NAME) is None


def test_nothing_is_left_after_everything_was_killed(before: HostSnapshot) -> None:
    bed, _ = start_with_a_pod()
    kill(bed, *processes.recorded(bed))
    lifecycle.down(NAME, print)
    assert traces(before) == []


def test_up_repairs_a_node_whose_programs_were_killed(before: HostSnapshot) -> None:
    bed, cluster = start_with_a_pod()
    (uid,) = {cluster.get("pod/stays")["metadata"]["uid"]}
    kill(bed, "containerd", "kubelet", "kube-proxy", "coredns", "provisioner")
    assert node.healthy(bed)
    lifecycle.up(NAME, Tier.T3, print)
    assert node.healthy(bed) == []
    stays = cluster.get("pod/stays")
    assert stays["metadata"]["uid"] == uid
    assert stays["status"]["containerStatuses"][0]["restartCount"] == 0, "a pod outlives its runtime"
    assert cluster.run_job("after", images.ensure_base(bed, print), "true") == 0
    lifecycle.down(NAME, print)
    assert traces(before) == []


def test_up_repairs_a_testbed_of_which_nothing_runs_any_more(before: HostSnapshot) -> None:
    """As after a power cut: control plane, node, containers and what held them are gone, their records are not."""
    bed, cluster = start_with_a_pod()
    layout = node.NodeLayout(bed)
    kill(bed, *processes.recorded(bed))
    cgroups.kill(layout.cgroup)
    containerd.end_shims(layout)
    lifecycle.up(NAME, Tier.T3, print)
    assert node.healthy(bed) == []
    image = images.ensure_base(bed, print)
    # Its volumes are there for the next pod.
    assert cluster.run_job("after", image, "test", "-d", "/plain", volumes={"plain": "/plain", "limited": "/limited"}) == 0
    cluster.wait("pod/stays", "jsonpath={.status.containerStatuses[0].state.terminated.exitCode}")


def test_a_second_up_starts_nothing(before: HostSnapshot) -> None:
    bed = lifecycle.up(NAME, Tier.T3, print)
    running = {name: processes.read_record(bed, name) for name in processes.recorded(bed)}
    lifecycle.up(NAME, Tier.T3, print)
    assert {name: processes.read_record(bed, name) for name in processes.recorded(bed)} == running


def test_images_outlive_a_testbed(before: HostSnapshot) -> None:
    bed = lifecycle.up(NAME, Tier.T3, print)
    image = images.ensure_base(bed, print)
    lifecycle.down(NAME, print)
    bed = lifecycle.up(NAME, Tier.T3, print)
    assert containerd.has_image(node.NodeLayout(bed), image)
    assert Cluster(bed, "again").run_job("again", image, "true") == 0


def test_a_volume_of_a_fixed_size_is_mounted_again_after_its_mount_was_lost(before: HostSnapshot) -> None:
    bed, cluster = start_with_a_pod()
    volume = cluster.get("persistentvolumeclaim/limited")["spec"]["volumeName"]
    place = Path(cluster.get(f"persistentvolume/{volume}")["spec"]["local"]["path"])
    cluster.kubectl("delete", "pod/stays", "--grace-period=1", "--timeout=300s")
    kill(bed, "provisioner")
    mounts.unmount_below(place)
    lifecycle.up(NAME, Tier.T3, print)
    assert place.is_mount()
