"""What may go wrong between a client and the API server, and who decides when it does.

A rule is a function from a call to a `Fault` or None; rules are values that a test composes.
"""

from __future__ import annotations

import enum
import random
from collections.abc import Callable, Mapping

from finetune_testbed.calls import Call


class Fault(enum.Enum):
    """One way to fail. All but LOST_RESPONSE leave the API server untouched."""

    CONFLICT = (409, "Conflict")
    GONE = (410, "Expired")
    THROTTLED = (429, "TooManyRequests")
    INTERNAL = (500, "InternalError")
    UNAVAILABLE = (503, "ServiceUnavailable")
    TIMEOUT = (504, "Timeout")
    RESET = (0, "connection reset before the request was served")
    LOST_RESPONSE = (1, "the request was served and its answer lost")

    @property
    def status(self) -> int:
        """HTTP status, or 0 for faults of the connection."""
        code = self.value[0]
        return code if code >= 400 else 0

    @property
    def reason(self) -> str:
        return self.value[1]


Rule = Callable[[Call], Fault | None]


def never(_call: Call) -> Fault | None:
    """No fault at all."""
    return None


def at(faults: Mapping[int, Fault], among: Callable[[Call], bool]) -> Rule:
    """Fail the n-th (from 1) of the calls that `among` chooses."""
    count = 0

    def rule(call: Call) -> Fault | None:
        nonlocal count
        if not among(call):
            return None
        count += 1
        return faults.get(count)

    return rule


def randomly(probabilities: Mapping[Fault, float], seed: int, among: Callable[[Call], bool] = lambda _call: True) -> Rule:
    """Fail calls by chance; the same seed and order of calls give the same faults.

    Raises:
        ValueError: the probabilities add up to more than 1.
    """
    if sum(probabilities.values()) > 1:
        raise ValueError(f"probabilities add up to {sum(probabilities.values())}")
    source = random.Random(seed)  # noqa: S311 - a reproducible sequence, no secret

    def rule(call: Call) -> Fault | None:
        if not among(call):
            return None
        draw = source.random()
        for fault, probability in probabilities.items():
            draw -= probability
            if draw < 0:
                return fault
        return None

    return rule


def first_of(*rules: Rule) -> Rule:
    """The first rule that has something to say."""

    def rule(call: Call) -> Fault | None:
        return next((fault for each in rules if (fault := each(call)) is not None), None)

    return rule


def status_body(fault: Fault, call: Call) -> dict[str, object]:
    """The Status object that the API server sends with such an error."""
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": f"injected by the testbed into {call.kind}",
        "reason": fault.reason,
        "details": {"name": call.name, "group": call.group, "kind": call.resource},
        "code": fault.status,
    }
