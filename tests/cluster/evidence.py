"""When a mistake could be seen first, and when the operator said so: the delay that a user waits for."""

from datetime import datetime
from typing import Any

Object = dict[str, Any]

BOUND = 10.0
"""Seconds from the first evidence to the condition. Times of the API server are whole seconds, so a second is lost to rounding."""
ROUNDING = 1.0


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def first_evidence(job: Object, pods: list[Object]) -> datetime:
    """Of the newest pod: when its container ended, or when it was found to fit nowhere, or when it came to be; without pods, of the job."""
    if not pods:
        return moment(job["metadata"]["creationTimestamp"])
    newest = max(pods, key=lambda pod: str(pod["metadata"]["creationTimestamp"]))
    status = newest["status"]
    for container in status.get("containerStatuses") or []:
        if ended := container["state"].get("terminated"):
            return moment(ended["finishedAt"])
    for condition in status.get("conditions") or []:
        if (condition["type"], condition["status"]) == ("PodScheduled", "False"):
            return moment(condition["lastTransitionTime"])
    return moment(newest["metadata"]["creationTimestamp"])


def last_word(job: Object) -> datetime:
    """When the operator wrote the status last, as the API server has it: how late a test looks does not count."""
    written = [entry for entry in job["metadata"]["managedFields"] if entry.get("subresource") == "status"]
    return max(moment(entry["time"]) for entry in written)


def assert_prompt(evidence: datetime, told: datetime) -> None:
    """``told``: when the operator said so."""
    delay = (told - evidence).total_seconds()
    assert delay <= BOUND + ROUNDING, f"{delay:.1f} s from the evidence to the condition"
