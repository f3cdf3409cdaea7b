"""What is open in this worker, and what came of canaries since its last report."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from finetune_inference.contract import Outcome, Track
from finetune_inference.router.book import Entry
from finetune_inference.router.breaker import Key
from finetune_inference.router.measures import Arm, Measures
from finetune_inference.router.messages import CanaryCount, InFlight

FAILURES = frozenset({Outcome.ERROR, Outcome.FALLBACK})


class Traffic:
    """Counts requests where they end; the supervisor sums what the workers report."""

    def __init__(self, measures: Measures) -> None:
        self.measures = measures
        self._open: Counter[tuple[str, str]] = Counter()
        self._canaries: dict[Key, tuple[int, int]] = {}

    @contextmanager
    def asking(self, deployment: str, version: str) -> Iterator[None]:
        """A request of this version is open."""
        self._open[deployment, version] += 1
        try:
            yield
        finally:
            self._open[deployment, version] -= 1
            if not self._open[deployment, version]:
                del self._open[deployment, version]

    def arm(self, entry: Entry, version: str, track: Track) -> Arm:
        return self.measures.arm(entry.namespace, entry.route.deployment, version, track)

    def ended(self, entry: Entry, version: str, track: Track, outcome: Outcome) -> None:
        """Count one request; a caller's own mistake and a caller who left say nothing about a canary."""
        self.arm(entry, version, track).outcomes[outcome].inc()
        if version != entry.route.canary or track is not Track.LIVE or outcome in (Outcome.CLIENT_ERROR, Outcome.ABORTED):
            return
        requests, failures = self._canaries.get(entry.key, (0, 0))
        self._canaries[entry.key] = (requests + 1, failures + (outcome in FAILURES))

    def in_flight(self) -> tuple[InFlight, ...]:
        return tuple(InFlight(deployment=d, version=v, requests=n) for (d, v), n in self._open.items())

    def canaries(self) -> tuple[CanaryCount, ...]:
        """What was counted since the last call."""
        counts, self._canaries = self._canaries, {}
        return tuple(CanaryCount(alias=a, generation=g, requests=r, failures=f) for (a, g), (r, f) in counts.items())
