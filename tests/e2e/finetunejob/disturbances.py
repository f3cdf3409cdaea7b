"""What takes a pod from its trainer: a delete, a TERM, a kill without a word, and an eviction."""

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

from tests.e2e.tenant import NAMESPACE, Job, Tenant


def delete_pod(tenant: Tenant, pod: Job) -> None:
    tenant.kubectl.run("delete", "pod", "-n", NAMESPACE, pod["metadata"]["name"], "--wait=false")


def terminate_trainer(tenant: Tenant, pod: Job) -> None:
    tenant.kubectl.run("exec", "-n", NAMESPACE, pod["metadata"]["name"], "--", "sh", "-c", "kill -TERM 1")


def kill_trainer(tenant: Tenant, pod: Job) -> None:
    """From the node, as the kernel would: nothing in the pod can do that to its first process."""
    os.kill(first_process(pod), signal.SIGKILL)


def evict_pod(tenant: Tenant, pod: Job) -> None:
    name = pod["metadata"]["name"]
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name, "namespace": NAMESPACE}}
    path = f"/api/v1/namespaces/{NAMESPACE}/pods/{name}/eviction"
    tenant.kubectl.run("create", "--raw", path, "-f", "-", stdin=json.dumps(eviction).encode())


DISTURBANCES: dict[str, Callable[[Tenant, Job], None]] = {
    "delete": delete_pod,
    "term": terminate_trainer,
    "kill": kill_trainer,
    "evict": evict_pod,
}


def first_process(pod: Job) -> int:
    """The host's id of the pod's trainer, found through its control group: process 1 of its own process namespace."""
    marks = (pod["metadata"]["uid"], pod["metadata"]["uid"].replace("-", "_"))
    found = []
    for process in Path("/proc").iterdir():
        try:
            if process.name.isdigit() and any(mark in (process / "cgroup").read_text() for mark in marks):
                status = (process / "status").read_text()
                command = (process / "cmdline").read_bytes()
                innermost = next(line for line in status.splitlines() if line.startswith("NSpid:")).split()[-1]
                if innermost == "1" and b"finetune-trainer" in command:
                    found.append(int(process.name))
        except (FileNotFoundError, ProcessLookupError):
            continue
    (only,) = found
    return only
