"""Follow one FineTuneJob the way its owner would, with `kubectl get -w`, until it is decided."""

import time
from typing import Any

from demo.kubectl import Kubectl, conditions

POLL_SECONDS = 2.0


class NotDecidedError(RuntimeError):
    """The job reached no end in the time the demo gives it."""


def follow(kubectl: Kubectl, namespace: str, name: str, limit_seconds: float) -> dict[str, Any]:
    """Show the watch until the job is Ready or Stalled, and return it; raises `NotDecidedError` after the limit."""
    arguments = ("get", "finetunejobs", "-n", namespace, "-w")
    kubectl.show_command(*arguments)
    watch = kubectl.start(*arguments)
    deadline = time.monotonic() + limit_seconds
    try:
        while time.monotonic() < deadline:
            job = kubectl.get("finetunejob", name, "-n", namespace)
            if decided(job):
                return job
            time.sleep(POLL_SECONDS)
    finally:
        watch.terminate()
        watch.wait()
    status = job.get("status", {})
    raise NotDecidedError(
        f"{name} was not decided within {limit_seconds:.0f} s; phase {status.get('phase')}, see `kubectl describe ftj {name}`"
    )


def decided(job: dict[str, Any]) -> bool:
    """Whether the job's present generation has reached Ready or Stalled."""
    found = conditions(job)
    return any(found.get(name, {}).get("status") == "True" for name in ("Ready", "Stalled"))
