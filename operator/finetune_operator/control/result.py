"""How a reconcile ended, whichever kind it was of: what the worker goes by."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Result:
    """How a reconcile ended: ``ok`` wrote something, ``idle`` had nothing to do, ``gone`` has no object any more."""

    outcome: Literal["ok", "idle", "gone"]
    again_now: bool = False
    requeue_after: float | None = None
