"""What the API server was asked, by whom, from its audit log: the ground truth for budgets of writes.

The testbed logs every request at Metadata level (no bodies). A request is counted once, when it is complete.
"""

from __future__ import annotations

import json
import time
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from finetune_testbed.apiserver import ApiServer
from finetune_testbed.bed import Testbed

WRITES = frozenset({"create", "update", "patch", "delete", "deletecollection"})
REVIEWS = frozenset({"tokenreviews", "subjectaccessreviews", "selfsubjectaccessreviews", "selfsubjectrulesreviews"})
"""Created, but stored nowhere."""
FLUSH_SECONDS = 60.0


class AuditError(RuntimeError):
    """The log does not hold what was asked for."""


@dataclass(frozen=True)
class Call:
    """One completed request."""

    verb: str
    group: str
    resource: str
    subresource: str
    namespace: str
    name: str
    user: str
    user_agent: str
    status: int
    received: datetime
    seconds: float
    """From received to complete; for a watch its whole life."""

    @property
    def is_write(self) -> bool:
        """Whether it changes stored state. A refused write counts: it was a call. Dry runs count too."""
        return self.verb in WRITES and self.resource not in REVIEWS

    @property
    def is_lease(self) -> bool:
        return self.resource == "leases"

    @property
    def kind(self) -> str:
        """Such as `patch finetunejobs/status`."""
        return f"{self.verb} {self.resource}{'/' if self.subresource else ''}{self.subresource}"


class AuditLog:
    """Reader of one testbed's audit log, from a mark onward."""

    def __init__(self, bed: Testbed) -> None:
        self._bed = bed
        self._path: Path = bed.audit_log

    def mark(self) -> int:
        """A position such that everything answered before this call lies before it.

        The server writes a request's line after its response, so this asks something itself and waits for that line.

        Raises:
            AuditError: the line did not appear.
        """
        start = self._path.stat().st_size
        token = f"finetune-testbed-mark/{uuid.uuid4().hex}"
        with ApiServer(self._bed) as server:
            server.request("GET", "/version", user_agent=token)
        deadline = time.monotonic() + FLUSH_SECONDS
        while time.monotonic() < deadline:
            with self._path.open("rb") as stream:
                stream.seek(start)
                content = stream.read()
            found = content.find(token.encode())
            end = content.find(b"\n", found) if found >= 0 else -1
            if end >= 0:
                return start + end + 1
            time.sleep(0.02)
        raise AuditError(f"{self._path} did not show a request within {FLUSH_SECONDS:.0f} s")

    def calls(self, since: int = 0, until: int | None = None) -> Iterator[Call]:
        """Completed requests between two marks.

        Raises:
            AuditError: the log was rotated after the mark was taken.
        """
        if self._path.stat().st_size < since:
            raise AuditError(f"{self._path} was rotated: the mark lies behind its end")
        with self._path.open("rb") as stream:
            stream.seek(since)
            while until is None or stream.tell() < until:
                line = stream.readline()
                if not line.endswith(b"\n"):
                    return
                if (call := _parse(json.loads(line))) is not None:
                    yield call

    def writes(self, user_agent: str = "", user: str = "", since: int = 0, until: int | None = None) -> list[Call]:
        """Writes of the clients whose user agent (or user) begins so."""
        return [
            call
            for call in self.calls(since, until)
            if call.is_write and call.user_agent.startswith(user_agent) and call.user.startswith(user)
        ]


class Kinded(Protocol):
    """Anything that says what kind of call it was."""

    @property
    def kind(self) -> str: ...


def tally(calls: Iterable[Kinded]) -> Counter[str]:
    """How many of each kind, for budgets and for messages of failed tests."""
    return Counter(call.kind for call in calls)


def _parse(event: dict[str, Any]) -> Call | None:
    if event.get("stage") != "ResponseComplete":
        return None
    target = event.get("objectRef", {})
    received = datetime.fromisoformat(event["requestReceivedTimestamp"])
    complete = datetime.fromisoformat(event["stageTimestamp"])
    return Call(
        verb=event["verb"],
        group=target.get("apiGroup", ""),
        resource=target.get("resource", ""),
        subresource=target.get("subresource", ""),
        namespace=target.get("namespace", ""),
        name=target.get("name", ""),
        user=event.get("impersonatedUser", event["user"]).get("username", ""),
        user_agent=event.get("userAgent", ""),
        status=event.get("responseStatus", {}).get("code", 0),
        received=received,
        seconds=(complete - received).total_seconds(),
    )
