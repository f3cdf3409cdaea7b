"""Which pod to ask for a version: only those whose own model list has it, the less busy of two that chance picks.

The supervisor asks the pods and tells the workers; a worker adds what it just met itself. A pod that failed goes to the end of the line
until it is heard of again, and is not left out altogether: the only pod of a version is still better than none.
"""

import random
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from finetune_inference.router.messages import PodState

DOUBT_SECONDS = 2.0


@dataclass(eq=False)
class Pod:
    """A pod as one worker knows it; ``in_flight`` are this worker's own requests."""

    name: str
    url: str
    in_flight: int = 0
    doubted_until: float = 0.0

    @contextmanager
    def asking(self) -> Iterator[None]:
        """A request is open here."""
        self.in_flight += 1
        try:
            yield
        finally:
            self.in_flight -= 1

    def doubt(self, now: float) -> None:
        self.doubted_until = now + DOUBT_SECONDS


class Pods:
    """All pods, by deployment and version."""

    def __init__(self, rng: random.Random | None = None) -> None:
        self._rng = rng or random.Random()  # noqa: S311  spreads load
        self._known: dict[tuple[str, str], Pod] = {}
        self._holders: dict[tuple[str, str], list[Pod]] = {}

    def follow(self, states: Iterable[PodState]) -> None:
        """Take over what the supervisor found; a pod that stays keeps its count of open requests."""
        known: dict[tuple[str, str], Pod] = {}
        self._holders = {}
        for state in states:
            pod = known[state.pod, state.url] = self._known.get((state.pod, state.url)) or Pod(state.pod, state.url)
            for version in state.versions:
                self._holders.setdefault((state.deployment, version), []).append(pod)
        self._known = known

    def pick(self, deployment: str, version: str, tried: Collection[Pod], now: float) -> Pod | None:
        """A pod that holds the version and was not tried yet."""
        held = [pod for pod in self._holders.get((deployment, version), ()) if pod not in tried]
        candidates = [pod for pod in held if pod.doubted_until <= now] or held
        if len(candidates) > 2:
            candidates = self._rng.sample(candidates, 2)
        elif len(candidates) == 2 and candidates[0].in_flight == candidates[1].in_flight:
            return self._rng.choice(candidates)
        return min(candidates, key=lambda pod: pod.in_flight, default=None)
