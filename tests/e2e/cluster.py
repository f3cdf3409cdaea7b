"""A testbed's cluster as the node tests see it: kubectl, and pods that the restricted Pod Security level admits."""

import json
import subprocess
from collections.abc import Mapping, Sequence
from typing import Any

from finetune_testbed import binaries
from finetune_testbed.bed import Testbed

UID = 10001


class Cluster:
    """One namespace of a testbed, enforcing the restricted level."""

    def __init__(self, bed: Testbed, namespace: str) -> None:
        self._command = (str(binaries.path("kubectl")), f"--kubeconfig={bed.kubeconfig}", f"--namespace={namespace}")
        labels = {"pod-security.kubernetes.io/enforce": "restricted"}
        self.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace, "labels": labels}})

    def kubectl(self, *arguments: str, given: str | None = None) -> str:
        done = subprocess.run([*self._command, *arguments], input=given, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"kubectl {' '.join(arguments)}: {done.stderr}\n{self._events()}"
        return done.stdout

    def apply(self, *objects: Mapping[str, Any]) -> None:
        self.kubectl("apply", "-f", "-", given=json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))

    def get(self, *arguments: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.kubectl("get", *arguments, "--output=json"))
        return found

    def wait(self, what: str, condition: str, seconds: int = 300) -> None:
        self.kubectl("wait", what, f"--for={condition}", f"--timeout={seconds}s")

    def run_job(self, name: str, image: str, *command: str, **pod: Any) -> int:
        """Run a command to its end; returns its exit code."""
        self.apply(job(name, image, command, **pod))
        selector = f"--selector=job-name={name}"
        self.kubectl("wait", f"job/{name}", "--for=jsonpath={.status.conditions[0].type}", "--timeout=300s")
        (only,) = self.get("pods", selector)["items"]
        return int(only["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"])

    def _events(self) -> str:
        return subprocess.run([*self._command, "get", "events"], capture_output=True, text=True, check=False).stdout[-2000:]


def pod_spec(
    image: str,
    command: Sequence[str],
    volumes: Mapping[str, str] | None = None,
    grace_seconds: int = 1,
    sub_path: str = "",
    **container: Any,
) -> dict[str, Any]:
    """A pod that the restricted level admits; `volumes` maps claims to the paths where their folder `sub_path` is mounted."""
    mounted = volumes or {}
    return {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": grace_seconds,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": UID,
            "runAsGroup": UID,
            "fsGroup": UID,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "volumes": [{"name": claim, "persistentVolumeClaim": {"claimName": claim}} for claim in mounted],
        "containers": [
            {
                "name": "main",
                "image": image,
                "imagePullPolicy": "Never",
                "command": list(command),
                "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
                "volumeMounts": [{"name": claim, "mountPath": path, "subPath": sub_path} for claim, path in mounted.items()],
                **container,
            }
        ],
    }


def pod(name: str, image: str, command: Sequence[str], **settings: Any) -> dict[str, Any]:
    metadata = {"name": name, "labels": {"app": name}}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": pod_spec(image, command, **settings)}


def job(name: str, image: str, command: Sequence[str], **settings: Any) -> dict[str, Any]:
    template = {"spec": pod_spec(image, command, **settings)}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}, "spec": {"backoffLimit": 0, "template": template}}


def claim(name: str, size: str, storage_class: str | None = None, mode: str = "ReadWriteOnce") -> dict[str, Any]:
    spec: dict[str, Any] = {"accessModes": [mode], "resources": {"requests": {"storage": size}}}
    if storage_class:
        spec["storageClassName"] = storage_class
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name}, "spec": spec}
