"""How long to wait after a failure: exponential, capped, and jittered so that the pods of a deployment do not return at one instant."""

import random
from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True)
class Backoff:
    """Seconds. What may pass by itself is tried soon; what only a person can change is tried rarely, and at once when it was changed."""

    passing: tuple[float, float] = (1.0, 60.0)
    lasting: tuple[float, float] = (15.0, 600.0)

    def wait(self, failures: int, rng: random.Random, *, passing: bool) -> timedelta:
        """After the ``failures``-th failure in a row, 50 to 100 % of the nominal time."""
        base, cap = self.passing if passing else self.lasting
        nominal = min(cap, base * 2.0 ** min(failures - 1, 32))
        return timedelta(seconds=nominal * rng.uniform(0.5, 1.0))
