"""What a decision asks for, as a value: the only thing that passes from the pure core to the code that writes to a cluster.

The executor carries a plan out in the order of its fields: live checks (any that fails drops the whole plan and asks for a new decision),
deletes, applies, creates one after another, at most one status write, then the events, and those only if the status write succeeded or
none was needed. Killing the process between any two of these and deciding again must lead to the same final state.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from finetune_operator.domain.governance.signing import RecordRequest

JsonObject = Mapping[str, Any]
"""A Kubernetes object or a part of one, as parsed JSON. Read, never changed."""


@dataclass(frozen=True)
class ObjectReference:
    """Names an object; ``uid`` is empty where it is not known."""

    api_version: str
    kind: str
    namespace: str
    name: str
    uid: str = ""


@dataclass(frozen=True)
class Child:
    """An object to create once, or one to apply.

    "Already exists, controlled by our resource's uid" is success; with any other owner it is a ``NameTaken`` rejection.
    """

    manifest: JsonObject

    @property
    def reference(self) -> ObjectReference:
        metadata = self.manifest["metadata"]
        return ObjectReference(self.manifest["apiVersion"], self.manifest["kind"], metadata["namespace"], metadata["name"])


@dataclass(frozen=True)
class Deletion:
    """A child to delete, with its uid as precondition; NotFound is success.

    Where ``target.uid`` is empty the executor reads the object first and deletes it only if our resource controls it. Foreground keeps a
    Job in sight until its pods are gone, so that a new attempt never starts beside the old one's pod.
    """

    target: ObjectReference
    propagation: Literal["Foreground", "Background"] = "Foreground"


@dataclass(frozen=True)
class EventNote:
    """A Kubernetes Event to record about the resource; ``related`` is the child concerned.

    Equal notes within minutes are one event.
    """

    type: Literal["Normal", "Warning"]
    reason: str
    action: str
    message: str
    related: ObjectReference | None = None


@dataclass(frozen=True)
class LiveChecks:
    """What has to be read from the API server, past every cache, before the first write of the plan.

    ``resource``: the FineTuneJob still has the observed uid and generation and no (other) deletionTimestamp.
    ``absent``: these children really do not exist (a cache that lags behind must not pass for a deletion).
    """

    resource: bool = False
    absent: tuple[ObjectReference, ...] = ()

    def __bool__(self) -> bool:
        return self.resource or bool(self.absent)


@dataclass(frozen=True)
class Plan:
    """Everything to be done now. An empty plan means: nothing to do until something changes.

    A plan with a ``record`` asks for that first: it is signed and chained, and then decided anew.

    ``status`` is the complete desired ``.status`` (camelCase JSON) or None where it is as it should be. ``requeue_after`` is in seconds.
    """

    live_checks: LiveChecks = field(default_factory=LiveChecks)
    deletes: tuple[Deletion, ...] = ()
    applies: tuple[Child, ...] = ()
    """Objects that are brought to this state, whether they are there or not."""
    creates: tuple[Child, ...] = ()
    status: JsonObject | None = None
    events: tuple[EventNote, ...] = ()
    requeue_after: float | None = None
    record: RecordRequest | None = None

    @property
    def empty(self) -> bool:
        """Whether carrying it out would write nothing."""
        written = (self.deletes, self.applies, self.creates, self.events)
        return not any(written) and self.status is None and self.record is None
