"""A deployment as its users see it: the object through kubectl, and answers through the official client and a load of streams."""

import json
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from openai import OpenAI

from demo.kubectl import Kubectl, KubectlError, conditions
from examples import tickets
from tests.e2e.tenant import NAMESPACE, POLL_SECONDS, merged
from tests.engines.load import Load

Object = dict[str, Any]

NAME = ALIAS = "ticket-router"
KEY = "key-of-alice"
CALLERS = 60
"""So few that each asks again and again in a rollout of half a minute; so many that a third of them is not nobody."""
QUESTIONS = [row["messages"][:-1] for row in tickets.rows(20, seed=41)]
"""Tickets that are in no file of the example."""


def example(file: str, **changes: Any) -> Object:
    """One of the example's manifests; ``changes`` are merged into its spec."""
    document = yaml.safe_load((Path("examples/ticket-routing") / file).read_text())
    return {**document, "spec": merged(document["spec"], changes)}


@dataclass(frozen=True)
class Served:
    """One AdapterDeployment of a tenant's namespace; its alias is its name."""

    kubectl: Kubectl
    name: str = NAME
    namespace: str = NAMESPACE

    # The object

    def apply(self, document: Object) -> None:
        self.kubectl.run("apply", "-f", "-", stdin=json.dumps(document).encode())

    def edit(self, **spec: Any) -> None:
        """A JSON merge patch of the spec."""
        self.kubectl.run("patch", "adep", self.name, "-n", self.namespace, "--type=merge", "--patch", json.dumps({"spec": spec}))

    def delete(self) -> None:
        self.kubectl.run("delete", "adep", self.name, "-n", self.namespace, "--ignore-not-found", "--wait=true", "--timeout=300s")

    def get(self) -> Object:
        return self.kubectl.get("adapterdeployment", self.name, "-n", self.namespace)

    def wait(self, what: Callable[[Object], Any], seconds: float = 600) -> Object:
        """The object once ``what`` holds of it; fails with its status when it does not in time."""
        deadline = time.monotonic() + seconds
        found: Object = {}
        refusal = ""
        while time.monotonic() < deadline:
            try:
                found = self.get()
                if found and what(found):
                    return found
            except KubectlError as error:
                refusal = f"; {error}"
            time.sleep(POLL_SECONDS)
        raise AssertionError(
            f"{self.name} did not get there in {seconds:.0f} s: {json.dumps(found.get('status', {}), indent=1)[:6000]}{refusal}"
        )

    def wait_ended(self, digest: str) -> Object:
        """The object once the rollout of this digest has ended, however it did, and every router has applied what follows from it."""

        def ended(found: Object) -> bool:
            last = next(iter(found.get("status", {}).get("history", [])), {})
            applied = conditions(found).get("TrafficApplied", {}).get("status") == "True"
            return last.get("digest") == digest and applied and "rollout" not in found["status"]

        return self.wait(ended)

    def pods(self, role: str) -> list[Object]:
        """Pods of `server` or `router` that are not on their way out, by name."""
        listed = self.kubectl.get("pods", "-n", self.namespace, "-l", f"finetune.dev/serving-role={role}").get("items", [])
        living = [pod for pod in listed if "deletionTimestamp" not in pod["metadata"]]
        return sorted(living, key=lambda pod: str(pod["metadata"]["name"]))

    # Its users

    @property
    def url(self) -> str:
        """Of the router's Service, which processes of this host reach as pods do."""
        service = self.kubectl.get("service", "finetune-router", "-n", self.namespace)
        return f"http://{service['spec']['clusterIP']}:8000"

    def client(self, key: str = KEY) -> OpenAI:
        """The official client; it tries nothing twice, so that no failure is hidden."""
        return OpenAI(base_url=f"{self.url}/v1", api_key=key, max_retries=0, timeout=120)

    def traffic(self, rate: float) -> AbstractContextManager[Load]:
        """Streams at a fixed rate, from a thread of its own; its records are whole once the block has ended."""
        document: Object = {"model": self.name, "messages": QUESTIONS[0], "max_tokens": 40, "temperature": 0}
        headers = {"Authorization": f"Bearer {KEY}"}
        return Load(self.url, rate, callers=CALLERS, document=document, headers=headers).on_a_thread()


def restarts(pods: list[Object]) -> int:
    """Of all containers of these pods, native sidecars too."""
    statuses = [status for pod in pods for kind in ("initContainerStatuses", "containerStatuses") for status in pod["status"].get(kind, [])]
    return sum(int(status["restartCount"]) for status in statuses)
