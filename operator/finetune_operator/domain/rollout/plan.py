"""What a decision about a rollout asks for: the only thing that passes to the code that writes to a cluster.

Route and desired set are parts of the status: routers and agents watch it. Killing the process before or after the write and deciding again
leads to the same final state.
"""

from dataclasses import dataclass

from finetune_operator.domain.plan import EventNote, JsonObject, ObjectReference
from finetune_operator.manifests.serving import CheckOrder, MergeOrder


@dataclass(frozen=True)
class Probes:
    """Requests of the operator's own, pinned to a version and counted as ``track="probe"``: so many more of each are needed."""

    wanted: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class RolloutPlan:
    """Everything to be done now.

    ``status`` is the complete desired ``.status`` (camelCase JSON) or None where it is as it should be; it is written with the observed
    resourceVersion. Then come the events, only if that write succeeded; then the Job of ``check`` or ``merge`` is created,
    and the Jobs in ``ends`` are deleted. ``release``: the finalizer may go. ``requeue_after`` is in seconds.
    """

    status: JsonObject | None = None
    events: tuple[EventNote, ...] = ()
    probes: Probes | None = None
    check: CheckOrder | None = None
    merge: MergeOrder | None = None
    ends: tuple[ObjectReference, ...] = ()
    release: bool = False
    requeue_after: float | None = None

    @property
    def empty(self) -> bool:
        """Whether carrying it out would write nothing."""
        ordered = self.check is not None or self.merge is not None
        return self.status is None and not self.events and not ordered and not self.ends and not self.release
