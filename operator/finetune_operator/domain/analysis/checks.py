"""The checks that are on, each with its finding: does the canary fail it, pass it, or can nobody tell yet?

To fail, a bound has to hold beyond doubt, because every look is another chance of a false alarm. To pass, the plain estimates must lie
within the limits and rest on enough requests. What is between the two needs more requests.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from finetune_operator.domain.analysis.criteria import CheckName


class Finding(StrEnum):
    PASS = "Pass"  # noqa: S105
    FAIL = "Fail"
    UNDECIDED = "Undecided"


@dataclass(frozen=True)
class Remark:
    """What one limit has to say; ``bound`` is the limit in words."""

    finding: Finding
    bound: str
    why: str


@dataclass(frozen=True)
class CheckResult:
    """A finding with its numbers: ``canary`` and ``stable`` are shares or seconds, ``bound`` is what they were held against."""

    check: CheckName
    finding: Finding
    canary: float | None
    stable: float | None
    canary_samples: int
    stable_samples: int
    bound: str
    message: str


def fails(bound: str, why: str) -> Remark:
    return Remark(Finding.FAIL, bound, why)


def undecided(bound: str, why: str) -> Remark:
    return Remark(Finding.UNDECIDED, bound, why)


def passes(bound: str, why: str) -> Remark:
    return Remark(Finding.PASS, bound, why)


def decisive(remarks: Iterable[Remark]) -> Remark:
    """The first that fails, else the first that is undecided, else the first."""
    made = list(remarks)
    order = (Finding.FAIL, Finding.UNDECIDED, Finding.PASS)
    return min(made, key=lambda remark: order.index(remark.finding))
