"""What the log of a load proves about a rollout, held against what the logs of the processes say was in force."""

import math
import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence

from tests.cluster.serving.chronicle import Chronicle, Verdict
from tests.engines.load import Record

BOUND = 2.0
"""Seconds from the verdict to the last router's acknowledgement."""


def assert_served(records: Sequence[Record], chronicle: Chronicle, texts: Mapping[str, str]) -> None:
    """Every stream came to its end, with the words of the version that the reply names, which is one that a route of the moment names."""
    for record in records:
        assert not record.failure, record
        assert record.version in chronicle.possible(record), record
        assert record.text == texts[record.version], record
        assert record.finish in ("stop", "length"), record


def assert_nobody_returns(records: Sequence[Record], chronicle: Chronicle) -> int:
    """Where one route alone can have answered: the same caller, the same version, from every router; and with more weight no way back.

    How many callers this was seen of, at so many weights.
    """
    seen: dict[str, dict[int, dict[str, bool]]] = defaultdict(lambda: defaultdict(dict))
    for record in records:
        route = chronicle.settled(record)
        if route is not None and route.canary is not None:
            by_canary = record.version == route.canary
            assert seen[route.canary][route.weight].setdefault(record.caller, by_canary) == by_canary, record
    for canary, by_weight in seen.items():
        moved: dict[str, int] = {}
        for weight, callers in sorted(by_weight.items()):
            for caller, by_canary in callers.items():
                assert by_canary or caller not in moved, f"{caller} had {canary} at {moved.get(caller)} % and not at {weight} %"
                if by_canary:
                    moved.setdefault(caller, weight)
    return sum(len(callers) for by_weight in seen.values() for callers in by_weight.values())


def assert_prompt(verdicts: Sequence[Verdict], records: Sequence[Record]) -> str:
    """At most `BOUND`, and what the busy machine made others wait meanwhile: the load generator knows how late it was. In words."""
    for verdict in verdicts:
        near = [record.late for record in records if verdict.written - 1 < record.at < verdict.acknowledged + 1]
        assert 0 < verdict.seconds <= BOUND + max(near, default=0.0), verdict
    seconds = [verdict.seconds for verdict in verdicts]
    return f"verdict to last acknowledgement: median {statistics.median(seconds):.3f} s, longest {max(seconds):.3f} s of {len(seconds)}"


def summary(records: Sequence[Record]) -> str:
    """The load in words."""
    length = max(record.at + record.last for record in records) - min(record.at for record in records)
    failed, versions = sum(bool(record.failure) for record in records), len({record.version for record in records})
    late = [record.late for record in records]
    return (
        f"{len(records)} streams in {length:.0f} s ({len(records) / length:.1f}/s), {failed} failed, {versions} versions; "
        f"begun late by {statistics.median(late):.3f} s (median), {max(late):.3f} s (most)"
    )


def is_within(hits: int, total: int, share: float, confidence: float = 0.99) -> bool:
    """Whether a binomial count is no rarer than this confidence allows: neither tail has less than half of what remains."""

    def probability(count: int) -> float:
        ways = math.lgamma(total + 1) - math.lgamma(count + 1) - math.lgamma(total - count + 1)
        return math.exp(ways + count * math.log(share) + (total - count) * math.log1p(-share))

    rest = (1 - confidence) / 2
    return sum(map(probability, range(hits + 1))) > rest and sum(map(probability, range(hits, total + 1))) > rest
