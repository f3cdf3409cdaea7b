"""A decision in the making: what status will say, gathered in one place and turned into a plan at the end."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from finetune_inference.contract import Route
from finetune_operator.api.adapterdeployment.defaults import steps_of
from finetune_operator.api.adapterdeployment.reasons import Reason
from finetune_operator.api.adapterdeployment.spec import AdapterDeploymentSpec, Step
from finetune_operator.api.adapterdeployment.status import (
    AdapterDeploymentStatus,
    CheckedVersion,
    CheckStatus,
    FailedVersion,
    GraceStatus,
    HistoryEntry,
    RetainedVersion,
    RolloutStatus,
    Stage,
    VersionStatus,
)
from finetune_operator.domain.plan import EventNote
from finetune_operator.domain.rollout.observed import RolloutObserved, RolloutSettings
from finetune_operator.domain.rollout.plan import Probes
from finetune_operator.domain.rollout.subject import Subject
from finetune_operator.domain.rollout.target import NoTarget, Target
from finetune_operator.manifests.serving import CheckOrder, MergeOrder

_EVENT_LIMIT = 1000
_MESSAGE_LIMIT = 2048


@dataclass(frozen=True)
class Scene:
    """What is observed, typed: nothing in here changes while a decision is made. ``spec`` is the present generation's, and valid."""

    observed: RolloutObserved
    subject: Subject
    spec: AdapterDeploymentSpec
    status: AdapterDeploymentStatus
    target: Target | NoTarget
    now: datetime

    @property
    def settings(self) -> RolloutSettings:
        return self.observed.settings

    @property
    def steps(self) -> tuple[Step, ...]:
        return steps_of(self.spec)


@dataclass
class Draft:
    """Starts as a copy of status; the parts of the domain change it."""

    scene: Scene
    stable: VersionStatus | None
    rollout: RolloutStatus | None
    retained: list[RetainedVersion]
    failed: list[FailedVersion]
    checked: list[CheckedVersion]
    history: list[HistoryEntry]
    analysis: list[CheckStatus]
    route: Route | None
    retry: str | None
    action: str | None
    order: str = ""
    """What a person has ordered once and nobody has heeded yet: promote, abort or retry."""
    blocked: tuple[Reason, str] | None = None
    """Why the rollout cannot go on just now, where status needs no memory of that."""
    probes: Probes | None = None
    check: CheckOrder | None = None
    merge: MergeOrder | None = None
    grace: GraceStatus | None = None
    """While stable answers for a little longer, though it may not be served any more."""
    events: list[EventNote] = field(default_factory=list)
    wakes: list[float] = field(default_factory=list)

    @property
    def now(self) -> datetime:
        return self.scene.now

    @property
    def step(self) -> Step | None:
        """The step of the rollout under way; None before the first, and after a spec with fewer steps came."""
        steps = self.scene.steps
        number = self.rollout.step if self.rollout is not None else 0
        return steps[number - 1] if 1 <= number <= len(steps) else None

    def is_stable(self, digest: str) -> bool:
        """Whether this version answers all callers who are not the canary's."""
        return self.stable is not None and self.stable.digest == digest

    def change(self, **changes: object) -> RolloutStatus:
        """The rollout under way with some fields changed."""
        assert self.rollout is not None
        self.rollout = self.rollout.replacing(**changes)
        return self.rollout

    def enter(self, stage: Stage, **changes: object) -> None:
        """The next stage begins now, with nothing held."""
        fresh: dict[str, object] = {"hold": None, "message": "", "held_since": None, "held_seconds": 0, "probing": False, "baseline": []}
        self.change(stage=stage, stage_since=self.now, **{**fresh, **changes})

    def hold(self, reason: Reason, message: str, *, latest: bool = False) -> None:
        """The rollout does not go on by itself; the words stay those of the moment when that began, unless the ``latest`` are wanted."""
        rollout = self.rollout
        assert rollout is not None
        if rollout.hold != reason.value:
            self.change(hold=reason.value, message=message[:_MESSAGE_LIMIT])
            self.note(reason, "Hold", f"{rollout.version}: {message}", warning=reason is not Reason.PAUSED)
        elif latest and rollout.message != message[:_MESSAGE_LIMIT]:
            self.change(message=message[:_MESSAGE_LIMIT])

    def note(self, reason: Reason, action: str, message: str, *, warning: bool = False) -> None:
        self.events.append(EventNote("Warning" if warning else "Normal", reason.value, action, message[:_EVENT_LIMIT]))

    def wake_in(self, seconds: float) -> None:
        self.wakes.append(max(0.0, seconds))

    def wake_at(self, moment: datetime) -> None:
        self.wake_in((moment - self.now) / timedelta(seconds=1))


def begin_draft(scene: Scene) -> Draft:
    status = scene.status
    return Draft(
        scene=scene,
        stable=status.stable,
        rollout=status.rollout,
        retained=list(status.retained),
        failed=list(status.failed_versions),
        checked=list(status.checked),
        history=list(status.history),
        analysis=list(status.analysis),
        route=status.route,
        retry=status.retry,
        action=status.action,
    )
