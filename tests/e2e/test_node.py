"""The real node does what a cluster's node does: restricted pods, logs, exit codes, Services by name, volumes, signals."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from finetune_testbed import images, node
from finetune_testbed.bed import Testbed
from finetune_testbed.node.outward import Watch
from tests.e2e.cluster import Cluster, claim, pod

SERVE = "import http.server; http.server.test(http.server.SimpleHTTPRequestHandler, port=8080)"
FETCH = """
import sys, time, urllib.request
deadline = time.monotonic() + 120
while True:
    try:
        print(urllib.request.urlopen(sys.argv[1], timeout=10).status)
        break
    except OSError:
        if time.monotonic() > deadline:
            raise
        time.sleep(0.2)
"""
FILL = """
import errno, sys
written = 0
try:
    with open('/data/big', 'wb', buffering=0) as file:
        while written < 64 << 20:
            written += file.write(bytes(1 << 16))
except OSError as error:
    print(errno.errorcode[error.errno], written)
"""


@pytest.fixture(scope="module")
def image(t3: Testbed) -> str:
    return images.ensure_base(t3, print)


@pytest.fixture(scope="module")
def cluster(t3: Testbed) -> Iterator[Cluster]:
    made = Cluster(t3, "node-tests")
    yield made
    made.kubectl("delete", "namespace", "node-tests", "--timeout=300s")


def test_the_node_is_ready_and_has_nothing_to_complain_about(t3: Testbed) -> None:
    assert node.healthy(t3) == []


def test_a_restricted_job_runs_with_its_log_and_its_exit_code(cluster: Cluster, image: str) -> None:
    code = cluster.run_job("words", image, "python3", "-c", "import os; print('uid', os.getuid()); raise SystemExit(65)")
    assert code == 65
    assert cluster.kubectl("logs", "job/words").strip() == "uid 10001"


def test_a_privileged_pod_is_refused_where_restricted_is_enforced(cluster: Cluster, image: str) -> None:
    with pytest.raises(AssertionError, match="violates PodSecurity"):
        cluster.kubectl("run", "privileged", f"--image={image}", "--privileged")


def test_a_pod_finds_another_through_a_service_by_name(cluster: Cluster, image: str) -> None:
    cluster.apply(
        pod("web", image, ["python3", "-c", SERVE], workingDir="/usr/share"),
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "web"},
            "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}]},
        },
    )
    cluster.wait("pod/web", "condition=Ready")
    assert cluster.run_job("fetch", image, "python3", "-c", FETCH, "http://web.node-tests.svc.cluster.local/") == 0
    assert cluster.kubectl("logs", "job/fetch").strip() == "200"


def test_the_host_reaches_a_pod_by_its_address(cluster: Cluster, image: str) -> None:
    cluster.apply(pod("near", image, ["python3", "-c", SERVE], readinessProbe={"tcpSocket": {"port": 8080}, "periodSeconds": 1}))
    cluster.wait("pod/near", "condition=Ready")


def test_a_pod_reaches_the_api_server_by_its_service(cluster: Cluster, image: str) -> None:
    connect = "import socket; socket.create_connection(('kubernetes.default', 443), timeout=60)"
    assert cluster.run_job("api", image, "python3", "-c", connect) == 0


def test_the_world_beyond_the_host_is_refused_at_once(cluster: Cluster, image: str, outward: Watch) -> None:
    """With an answer: where packets vanish, a connection runs into its timeout instead."""
    attempt = (
        "import socket\n"
        "try: socket.create_connection(('198.51.100.1', 443), timeout=60)\n"
        "except TimeoutError: raise\n"
        "except OSError: raise SystemExit(7)"
    )
    with outward.looking_away():
        assert cluster.run_job("beyond", image, "python3", "-c", attempt) == 7


def test_an_image_that_nobody_has_is_reported_and_not_waited_for(cluster: Cluster, image: str) -> None:
    cluster.apply(pod("absent", "registry.invalid/absent:1", ["true"], imagePullPolicy="IfNotPresent"))
    deadline = time.monotonic() + 300
    reason = ""
    while reason not in {"ErrImagePull", "ImagePullBackOff"}:  # kubelet alternates between the two
        assert time.monotonic() < deadline, reason
        (state, *_) = cluster.get("pod/absent")["status"].get("containerStatuses") or [{}]
        reason = state.get("state", {}).get("waiting", {}).get("reason", "")


@pytest.mark.parametrize("mode", ["ReadWriteOnce", "ReadWriteMany"])
def test_a_claim_is_writable_by_a_pod_through_its_group(cluster: Cluster, image: str, mode: str) -> None:
    name = f"data-{mode.lower()}"
    cluster.apply(claim(name, "1Gi", mode=mode))
    write = "import os; open('/data/x', 'w').write('kept'); print(os.stat('/data').st_gid)"
    assert cluster.run_job(f"write-{name}", image, "python3", "-c", write, volumes={name: "/data"}) == 0
    assert cluster.kubectl("logs", f"job/write-{name}").strip() == "10001"
    read = "print(open('/data/x').read())"
    assert cluster.run_job(f"read-{name}", image, "python3", "-c", read, volumes={name: "/data"}) == 0
    assert cluster.kubectl("logs", f"job/read-{name}").strip() == "kept"


@pytest.mark.parametrize("storage_class", ["finetune-local", "finetune-limited"])
def test_a_folder_of_a_claim_in_use_is_writable_too(cluster: Cluster, image: str, storage_class: str) -> None:
    """The provisioner looks again while the volume is in use; the group must reach folders that kubelet makes later."""
    name = f"deep-{storage_class}"
    cluster.apply(claim(name, "16Mi", storage_class), pod(f"holds-{name}", image, ["sleep", "600"], volumes={name: "/data"}))
    cluster.wait(f"pod/holds-{name}", "condition=Ready")
    cluster.apply(claim(f"another-{name}", "16Mi"), pod(f"wakes-{name}", image, ["true"], volumes={f"another-{name}": "/data"}))
    cluster.wait(f"persistentvolumeclaim/another-{name}", "jsonpath={.status.phase}=Bound")
    write = "open('/data/x', 'w').write('kept')"
    assert cluster.run_job(f"writes-{name}", image, "python3", "-c", write, volumes={name: "/data"}, sub_path="a/b/c") == 0


def test_a_limited_volume_is_full_when_its_size_is_used_up(cluster: Cluster, image: str) -> None:
    cluster.apply(claim("small", "16Mi", "finetune-limited"))
    assert cluster.run_job("fill", image, "python3", "-c", FILL, volumes={"small": "/data"}) == 0
    error, written = cluster.kubectl("logs", "job/fill").split()
    assert error == "ENOSPC"
    assert 12 << 20 < int(written) <= 16 << 20


def test_a_limited_volume_too_small_for_a_file_system_says_so(cluster: Cluster, image: str) -> None:
    cluster.apply(claim("tiny", "1Ki", "finetune-limited"), pod("wants-tiny", image, ["true"], volumes={"tiny": "/data"}))
    deadline = time.monotonic() + 120
    message = ""
    while "needs at least" not in message and time.monotonic() < deadline:
        events = cluster.get("events", "--field-selector=involvedObject.name=tiny,reason=ProvisioningFailed")["items"]
        message = " ".join(event["message"] for event in events)
    assert "a limited volume needs at least 1048576 bytes, not 1024" in message


def test_the_data_goes_with_the_claim(cluster: Cluster, image: str, t3: Testbed) -> None:
    cluster.apply(claim("brief", "16Mi", "finetune-limited"))
    assert cluster.run_job("touch", image, "python3", "-c", "open('/data/x', 'w')", volumes={"brief": "/data"}) == 0
    volume = cluster.get("persistentvolumeclaim/brief")["spec"]["volumeName"]
    place = Path(cluster.get(f"persistentvolume/{volume}")["spec"]["local"]["path"])
    assert place.is_mount()
    cluster.kubectl("delete", "job/touch", "--cascade=foreground", "--timeout=300s")
    cluster.kubectl("delete", "persistentvolumeclaim/brief", "--timeout=300s")
    cluster.kubectl("wait", f"persistentvolume/{volume}", "--for=delete", "--timeout=300s")
    assert not place.exists()
    assert not place.with_name(f"{place.name}.ext4").exists()


def test_a_pod_that_handles_term_ends_with_its_own_exit_code(cluster: Cluster, image: str) -> None:
    handle = (
        "import signal, sys, threading\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(75))\n"
        "open('/tmp/handles-term', 'w').close()\n"
        "threading.Event().wait()"
    )
    probe = {"exec": {"command": ["test", "-e", "/tmp/handles-term"]}, "periodSeconds": 1}
    kept = {"finalizers": ["finetune.dev/test"]}
    term = pod("term", image, ["python3", "-c", handle], grace_seconds=20, readinessProbe=probe)
    term["metadata"] |= kept
    cluster.apply(term)
    cluster.wait("pod/term", "condition=Ready")
    cluster.kubectl("delete", "pod/term", "--wait=false")
    cluster.wait("pod/term", "jsonpath={.status.containerStatuses[0].state.terminated.exitCode}=75", seconds=120)
    cluster.kubectl("patch", "pod/term", "--type=merge", "--patch", '{"metadata": {"finalizers": null}}')


def test_a_pod_deaf_to_term_is_killed_after_its_grace(cluster: Cluster, image: str) -> None:
    deaf = "import signal, threading; signal.signal(signal.SIGTERM, signal.SIG_IGN); threading.Event().wait()"
    stubborn = pod("deaf", image, ["python3", "-c", deaf])
    stubborn["metadata"]["finalizers"] = ["finetune.dev/test"]
    cluster.apply(stubborn)
    cluster.wait("pod/deaf", "condition=Ready")
    cluster.kubectl("delete", "pod/deaf", "--wait=false")
    cluster.wait("pod/deaf", "jsonpath={.status.containerStatuses[0].state.terminated.exitCode}=137", seconds=120)
    cluster.kubectl("patch", "pod/deaf", "--type=merge", "--patch", '{"metadata": {"finalizers": null}}')


def test_memory_over_the_limit_is_an_oom_kill(cluster: Cluster, image: str) -> None:
    eat = "held = [bytes(1 << 20) + b'x' for _ in range(512)]"
    limits = {"limits": {"memory": "64Mi", "cpu": "1"}}
    assert cluster.run_job("eat", image, "python3", "-c", eat, resources=limits) == 137
    (only,) = cluster.get("pods", "--selector=job-name=eat")["items"]
    assert only["status"]["containerStatuses"][0]["state"]["terminated"]["reason"] == "OOMKilled"
