"""What a canary has to satisfy: the limits of one rollout, and what was counted for both arms."""

from dataclasses import dataclass
from enum import StrEnum

from finetune_operator.domain.analysis.counters import Counts
from finetune_operator.domain.analysis.eprocess import Window


class CheckName(StrEnum):
    ERRORS = "Errors"
    SCHEMA = "Schema"
    TTFT = "TTFT"
    ITL = "ITL"


class LowTraffic(StrEnum):
    """What becomes of a canary that has not had enough requests in time."""

    PAUSE = "Pause"
    FAIL = "Fail"
    PROBE = "Probe"


@dataclass(frozen=True)
class ShareLimits:
    """Bounds of a share of failures; beside them the canary must not fail more often than stable, whatever they allow."""

    max_rate: float | None = None
    max_delta: float | None = None


@dataclass(frozen=True)
class LatencyLimits:
    """Bounds of a latency quantile, in seconds and as a ratio to the concurrent stable version."""

    quantile: float = 0.95
    max_seconds: float | None = None
    max_ratio: float | None = None


@dataclass(frozen=True)
class Criteria:
    """All checks that are on, and how many requests (for ``schema``: validated answers) each arm needs before anything can pass."""

    min_requests: int
    min_answers: int = 1
    errors: ShareLimits | None = None
    schema: ShareLimits | None = None
    ttft: LatencyLimits | None = None
    itl: LatencyLimits | None = None

    @property
    def sequential(self) -> int:
        """How many checks share the probability of a false alarm."""
        return sum(limits is not None for limits in (self.errors, self.schema))


@dataclass(frozen=True)
class Evidence:
    """What both arms have done since the routers acknowledged the present weight, and in the steps before.

    ``unread`` names the routers that are not in the counts. In a shadow step the canary's counts are those of the copies.
    """

    canary: Counts
    stable: Counts
    earlier_errors: tuple[Window, ...] = ()
    earlier_answers: tuple[Window, ...] = ()
    unread: tuple[str, ...] = ()

    @property
    def error_windows(self) -> tuple[Window, ...]:
        return (*self.earlier_errors, error_window(self.canary, self.stable))

    @property
    def answer_windows(self) -> tuple[Window, ...]:
        return (*self.earlier_answers, answer_window(self.canary, self.stable))


def error_window(canary: Counts, stable: Counts) -> Window:
    return Window(canary.requests, canary.failed, stable.requests, stable.failed)


def answer_window(canary: Counts, stable: Counts) -> Window:
    return Window(canary.answers, canary.invalid, stable.answers, stable.invalid)
