"""The small world with the Jobs of a rollout, each created once under its own name; how they end, worlds of checks and of merges say."""

from collections.abc import Mapping
from typing import Any, Generic, TypeVar

from finetune_operator.domain.children import Job, JobState, Place, Pod
from finetune_operator.domain.plan import ObjectReference
from finetune_operator.domain.rollout.observed import JobAttempt
from finetune_operator.domain.rollout.plan import RolloutPlan
from finetune_operator.manifests.names import Owner
from tests.serving.rollout.world import UID, Crash, World

OWNER = Owner("support", "bot", UID)
Order = TypeVar("Order")


class JobsWorld(World, Generic[Order]):
    """``stuck``: no Job ends. ``lost``: the pods are gone with their results. ``created`` and ``ended`` are names, in their order."""

    def __init__(self, document: dict[str, Any], **more: Any) -> None:
        super().__init__(document, **more)
        self.jobs: dict[str, tuple[Order, JobAttempt]] = {}
        self.stuck = self.lost = False
        self.created: list[str] = []
        self.ended: list[str] = []

    def attempts(self) -> tuple[JobAttempt, ...]:
        return tuple(attempt for _, attempt in self.jobs.values())

    def create(self, order: Order, manifest: Mapping[str, Any]) -> None:
        """As the operator creates it; where a crash is due, the operator dies before."""
        if self.crash_at is not None and self.crash_at <= 0:
            self.crash_at = None
            raise Crash
        name, labels = manifest["metadata"]["name"], manifest["metadata"]["labels"]
        if name in self.jobs:
            return
        if self.crash_at is not None:
            self.crash_at -= 1
        self.created.append(name)
        place = Place(labels["finetune.dev/run"], labels["finetune.dev/step"], int(labels["finetune.dev/attempt"]))
        reference = ObjectReference("batch/v1", "Job", "support", name, f"uid-{len(self.created)}")
        self.jobs[name] = (order, JobAttempt(Job(reference, place, JobState.ACTIVE, False, False, "", "", self.now, None)))

    def end(self, plan: RolloutPlan) -> None:
        """Those that the plan ends."""
        for reference in plan.ends:
            self.ended.append(reference.name)
            self.jobs.pop(reference.name, None)


def ended_pod(job: Job, said: str, code: int | None, evicted: str | None = None) -> Pod:
    """Of a Job that has ended, with its last words."""
    reference = ObjectReference("v1", "Pod", "support", f"{job.reference.name}-x", "pod")
    said_and_done = (code, "", said, None, None, "", None, "")
    return Pod(reference, job.place, "Failed", False, "", "", None, "", "", evicted, None, "", "", False, *said_and_done)
