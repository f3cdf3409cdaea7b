"""How long to wait before the next try: exponential, capped and jittered, so that many pods do not return at one instant."""

import random
from dataclasses import dataclass, field


@dataclass
class Backoff:
    """Seconds; each delay is 50 to 100 % of its nominal value."""

    base: float = 0.05
    cap: float = 3.0
    rng: random.Random = field(default_factory=random.Random)
    failures: int = 0

    def next(self) -> float:
        nominal: float = min(self.cap, self.base * 2.0 ** min(self.failures, 32))
        self.failures += 1
        return nominal * self.rng.uniform(0.5, 1.0)

    def reset(self) -> None:
        self.failures = 0
