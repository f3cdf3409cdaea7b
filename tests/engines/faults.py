"""What can be made to go wrong in a running fake engine: ``POST /faults`` merges these fields, ``GET /faults`` shows them."""

from collections import defaultdict
from dataclasses import dataclass, field, fields
from typing import Any


@dataclass
class Faults:
    """Shares are between 0 and 1 and are met exactly in the long run, without chance. Dictionaries are keyed by model name."""

    load_seconds: float = 0.0
    hold_loads: bool = False  # a load that has begun does not end
    fail_loads: int = 0  # the next so many loads end in a 500
    no_effect: list[str] = field(default_factory=list)  # adapters that load and change nothing
    drift: dict[str, float] = field(default_factory=dict)  # added to an adapter's log-probabilities
    unhealthy: bool = False
    hang: bool = False  # nothing is answered any more
    error_share: dict[str, float] = field(default_factory=dict)  # answered with a 500
    cut_share: dict[str, float] = field(default_factory=dict)  # cut after the first chunk
    first_token_seconds: dict[str, float] = field(default_factory=dict)
    answer: dict[str, str] = field(default_factory=dict)  # the text a model answers with

    def merge(self, document: dict[str, Any]) -> None:
        known = {entry.name for entry in fields(self)}
        if unknown := set(document) - known:
            raise ValueError(f"no such fault: {', '.join(sorted(unknown))}")
        for name, value in document.items():
            setattr(self, name, value)


class Shares:
    """Lets every n-th through, so that a share of 0.25 is one in four and never a matter of luck."""

    def __init__(self) -> None:
        self._sums: dict[tuple[str, str], float] = defaultdict(float)

    def hit(self, kind: str, model: str, share: float) -> bool:
        self._sums[kind, model] += share
        if self._sums[kind, model] >= 1.0 - 1e-9:
            self._sums[kind, model] -= 1.0
            return True
        return False
