"""Router scrapes and counts, for the tests of verdicts."""

from collections.abc import Mapping

from finetune_inference.contract import CheckOutcome, Outcome, RouterMetric, Track
from finetune_operator.domain.analysis.counters import Counts, Sample, Scrape
from finetune_operator.domain.analysis.histogram import Histogram

STABLE, CANARY = "bot--aaaaaaaaaaaa", "bot--cccccccccccc"
BOUNDS = (0.1, 0.5, 1.0)
WHERE = {"namespace": "support", "deployment": "bot"}


def lines(
    version: str,
    outcomes: Mapping[Outcome, int] | None = None,
    *,
    track: Track = Track.LIVE,
    answers: Mapping[CheckOutcome, int] | None = None,
    ttft: tuple[int, ...] = (0, 0, 0, 0),
) -> list[Sample]:
    """What a router exports about one version; ``ttft`` are cumulative buckets for ``BOUNDS`` and +Inf."""
    labels = {**WHERE, "version": version, "track": track.value}
    made = [
        Sample(RouterMetric.REQUESTS.value, {**labels, "outcome": outcome.value}, float((outcomes or {}).get(outcome, 0)))
        for outcome in Outcome
    ]
    made += [
        Sample(RouterMetric.CHECKS.value, {**labels, "check": "schema", "outcome": outcome.value}, float((answers or {}).get(outcome, 0)))
        for outcome in CheckOutcome
    ]
    bounds = [*(str(bound) for bound in BOUNDS), "+Inf"]
    made += [
        Sample(f"{RouterMetric.TTFT.value}_bucket", {**labels, "le": bound}, float(count))
        for bound, count in zip(bounds, ttft, strict=True)
    ]
    return made


def scrape(*samples: list[Sample], router: str = "router-1", process: str = "p1") -> Scrape:
    return Scrape(router, process, tuple(sample for part in samples for sample in part))


def counts(requests: int, failed: int = 0, *, answers: int = 0, invalid: int = 0, seconds: float = 0.3) -> Counts:
    """Requests of which some failed; all others took ``seconds`` to their first token and between tokens."""
    fine = requests - failed
    position = sum(bound < seconds for bound in BOUNDS)
    histogram = Histogram(BOUNDS, tuple(fine if place == position else 0 for place in range(len(BOUNDS) + 1)))
    return Counts(fine, failed, answers - invalid, invalid, histogram, histogram)
