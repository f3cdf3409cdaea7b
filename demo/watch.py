"""Follow one object the way its owner would, with `kubectl get -w`, until it is decided."""

import time
from collections.abc import Callable
from typing import Any

from demo.kubectl import Kubectl, conditions

POLL_SECONDS = 2.0

JOBS = "finetunejobs"
DEPLOYMENTS = "adapterdeployments"


class NotDecidedError(RuntimeError):
    """The object reached no end in the time the demo gives it."""


def decided(found: dict[str, Any]) -> bool:
    """Whether the present generation has reached Ready or Stalled."""
    stated = conditions(found)
    return any(stated.get(name, {}).get("status") == "True" for name in ("Ready", "Stalled"))


def follow(
    kubectl: Kubectl,
    namespace: str,
    resource: str,
    name: str,
    limit_seconds: float,
    *,
    until: Callable[[dict[str, Any]], bool] = decided,
) -> dict[str, Any]:
    """Show the watch until ``until`` holds of the object, and return it; raises `NotDecidedError` after the limit."""
    arguments = ("get", resource, "-n", namespace, "-w")
    kubectl.show_command(*arguments)
    watch = kubectl.start(*arguments)
    deadline = time.monotonic() + limit_seconds
    found: dict[str, Any] = {}
    try:
        while time.monotonic() < deadline:
            found = kubectl.get(resource, name, "-n", namespace)
            if until(found):
                return found
            time.sleep(POLL_SECONDS)
    finally:
        watch.terminate()
        watch.wait()
    phase = found.get("status", {}).get("phase")
    raise NotDecidedError(
        f"{name} was not decided within {limit_seconds:.0f} s; phase {phase}, see `kubectl describe {resource} -n {namespace} {name}`"
    )
