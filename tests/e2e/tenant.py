"""How the end-to-end tests speak of a tenant's jobs: build a manifest, apply it, wait for what must come."""

import contextlib
import copy
import json
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from demo import claims
from demo.kubectl import Kubectl, KubectlError, conditions

NAMESPACE = "support"
POLL_SECONDS = 0.5

Job = dict[str, Any]


def manifest(name: str, **changes: Any) -> Job:
    """A small, quick job on the tiny base; ``changes`` are merged into its spec, None removes a field."""
    spec: Job = {
        "baseModel": {"uri": "pvc://models/tiny-chat"},
        "dataset": {"inline": {"uri": "pvc://datasets/tickets.jsonl", "format": "Messages"}, "validation": {"percent": 10}},
        "task": {"type": "Format", "outputSchema": {"configMapRef": {"name": "ticket-routing"}}},
        "tuner": {"type": "LoRA", "lora": {"rank": 8, "alpha": 16}},
        "training": {"maxSteps": 12, "batchSize": 8, "microBatchSize": 8, "learningRate": "3e-3", "maxSequenceLength": 256},
        "evaluation": {"metrics": ["JSONValidity", "ExactMatch"], "maxItems": 4, "maxNewTokens": 48},
        "resources": {"requests": {"cpu": "500m", "memory": "1Gi"}, "limits": {"cpu": "1", "memory": "6Gi"}},
        "checkpoint": {"everySeconds": 600},
        "artifact": {"uri": "pvc://adapters/tests"},
    }
    return {
        "apiVersion": "finetune.dev/v1alpha1",
        "kind": "FineTuneJob",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": merged(spec, changes),
    }


def names_of(jobs: tuple[Job, ...]) -> list[str]:
    return [str(job["metadata"]["name"]) for job in jobs]


def artifact_folder(job: Job) -> str:
    """Where a job's artifact lies, as the loader sees it."""
    return "/claims/" + str(job["status"]["artifact"]["uri"]).removeprefix("pvc://")


def merged(base: Job, changes: Job) -> Job:
    """JSON merge patch (RFC 7386)."""
    result = copy.deepcopy(base)
    for key, value in changes.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, dict) and isinstance(result.get(key), dict):
            result[key] = merged(result[key], value)
        else:
            result[key] = value
    return result


def documents(lines: Iterable[str]) -> Iterator[Job]:
    """The objects that kubectl prints one after another, each ended by a brace at the margin."""
    text: list[str] = []
    for line in lines:
        text.append(line)
        if line == "}\n":
            yield json.loads("".join(text))
            text.clear()


@dataclass(frozen=True)
class Tenant:
    """The tenant's view of the cluster."""

    kubectl: Kubectl
    namespace: str = NAMESPACE

    def apply(self, job: Job) -> None:
        self.kubectl.run("apply", "-f", "-", stdin=json.dumps(job).encode())

    def start(self, *jobs: Job) -> None:
        """Apply jobs as new objects: what an earlier session left of that name goes first."""
        self.kubectl.run("delete", "finetunejob", "-n", self.namespace, *names_of(jobs), "--ignore-not-found", "--wait=true")
        for job in jobs:
            self.apply(job)

    def edit(self, name: str, changes: Job) -> None:
        """A JSON merge patch of the spec."""
        patch = json.dumps({"spec": changes})
        self.kubectl.run("patch", "finetunejob", name, "-n", self.namespace, "--type=merge", "--patch", patch)

    def get(self, name: str) -> Job:
        return self.kubectl.get("finetunejob", name, "-n", self.namespace)

    def delete(self, name: str) -> None:
        self.kubectl.run("delete", "finetunejob", name, "-n", self.namespace, "--ignore-not-found", "--wait=true")

    def condition(self, name: str, kind: str) -> dict[str, Any]:
        return conditions(self.get(name)).get(kind, {})

    def wait(self, name: str, what: Callable[[Job], bool], seconds: float = 300) -> Job:
        """Poll until ``what`` holds of the job; fails with its conditions when it does not in time."""
        deadline = time.monotonic() + seconds
        job: Job = {}
        refusal = ""  # a busy API server or kubelet may refuse once; what it said last is told if nothing better comes
        while time.monotonic() < deadline:
            try:
                job = self.get(name)
                if job and what(job):
                    return job
            except KubectlError as error:
                refusal = f"; {error}"
            time.sleep(POLL_SECONDS)
        raise AssertionError(f"{name} did not get there in {seconds:.0f} s: {json.dumps(job.get('status', {}), indent=1)[:4000]}{refusal}")

    def wait_for(self, name: str, kind: str, status: str = "True", seconds: float = 300) -> Job:
        return self.wait(name, lambda job: conditions(job).get(kind, {}).get("status") == status, seconds)

    def wait_decided(self, name: str, seconds: float = 300) -> Job:
        """Ready or Stalled, whichever comes."""
        return self.wait(
            name, lambda job: any(conditions(job).get(kind, {}).get("status") == "True" for kind in ("Ready", "Stalled")), seconds
        )

    def pods(self, name: str) -> list[Job]:
        """The job's pods, oldest first."""
        listed = self.kubectl.get("pods", "-n", self.namespace, "-l", f"finetune.dev/finetunejob={name}")
        return sorted(listed.get("items", []), key=lambda pod: str(pod["metadata"]["creationTimestamp"]))

    def batch_jobs(self, name: str) -> list[str]:
        """Names of the Jobs that the operator has made for it."""
        listed = self.kubectl.get("jobs", "-n", self.namespace, "-l", f"finetune.dev/finetunejob={name}")
        return sorted(str(item["metadata"]["name"]) for item in listed.get("items", []))

    def events(self, name: str) -> list[Job]:
        """Kubernetes Events about the job as it is now."""
        uid = self.get(name)["metadata"]["uid"]
        listed = self.kubectl.get("events", "-n", self.namespace, "--field-selector", f"involvedObject.uid={uid}")
        return list(listed.get("items", []))

    def wait_event(self, name: str, reason: str, seconds: float = 120) -> list[Job]:
        """Its Events, once one with this reason is among them: the operator writes them after the status."""
        found: list[Job] = []

        def told(_: Job) -> bool:
            found[:] = self.events(name)
            return any(event["reason"] == reason for event in found)

        self.wait(name, told, seconds)
        return found

    @contextlib.contextmanager
    def versions(self, name: str, seconds: float = 300) -> Iterator[Iterator[Job]]:
        """The job as it is, and then as it is after each change, however late they are read; they end after so many seconds."""
        command = self.kubectl.command("get", "finetunejob", name, "-n", self.namespace, "--watch", "--output=json")
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            overdue = threading.Timer(seconds, process.kill)
            overdue.start()
            try:
                assert process.stdout is not None
                yield documents(process.stdout)
            finally:
                overdue.cancel()
                process.kill()

    def training_pod(self, name: str, attempt: int = 1, seconds: float = 300) -> Job:
        """Wait until the pod of this attempt of the train step runs."""
        found: Job = {}

        def runs(_: Job) -> bool:
            for pod in self.pods(name):
                labels = pod["metadata"]["labels"]
                if (labels["finetune.dev/step"], labels["finetune.dev/attempt"]) == ("train", str(attempt)):
                    found.update(pod)
                    return bool(pod["status"].get("phase") == "Running")
            return False

        self.wait(name, runs, seconds)
        return found

    def follow_until(self, pod: str, event: str, seconds: float = 120) -> dict[str, Any]:
        """Read the pod's log as it is written, until the trainer tells this event; a log that breaks off is read again."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            ended = self.kubectl.get("pod", pod, "-n", self.namespace).get("status", {}).get("phase") not in ("Pending", "Running")
            if told := self._follow(pod, event, deadline - time.monotonic()):
                return told
            assert not ended, f"pod {pod} ended and did not tell {event!r}"
            time.sleep(POLL_SECONDS)
        raise AssertionError(f"pod {pod} did not tell {event!r} within {seconds:.0f} s")

    def _follow(self, pod: str, event: str, seconds: float) -> dict[str, Any]:
        """The event, or nothing if the log ends or breaks off before it."""
        command = self.kubectl.command("logs", "--follow", "-n", self.namespace, pod)
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            overdue = threading.Timer(seconds, process.kill)
            overdue.start()
            try:
                assert process.stdout is not None
                for line in process.stdout:
                    told: dict[str, Any] = json.loads(line) if line.startswith("{") and line.endswith("\n") else {}
                    if told.get("event") == event:
                        return told
            finally:
                overdue.cancel()
                process.kill()
        return {}

    def log(self, pod: str) -> str:
        return self.kubectl.run("logs", "-n", self.namespace, pod)

    def fetch(self, folder: str, destination: Path) -> Path:
        """Copy a folder of a claim to this machine."""
        destination.mkdir(parents=True)
        pack = self.kubectl.command("exec", "-n", self.namespace, claims.LOADER, "--", "tar", "-c", "-C", folder, "-f", "-", ".")
        packed = subprocess.run(pack, capture_output=True, check=True).stdout
        subprocess.run(["tar", "-x", "-C", str(destination), "-f", "-"], input=packed, check=True)
        return destination

    def files(self, folder: str) -> list[str]:
        """Names below a folder of a claim, as ``/claims/<claim>/<path>``."""
        listed = self.kubectl.run("exec", "-n", self.namespace, claims.LOADER, "--", "find", folder, "-type", "f")
        return sorted(listed.split())

    def read(self, path: str) -> str:
        return claims.read(self.kubectl, self.namespace, path)
