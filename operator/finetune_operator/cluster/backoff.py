"""How long to wait before trying again: exponential, capped, and jittered so that many clients do not return at the same instant."""

import random
from dataclasses import dataclass, field


@dataclass
class Backoff:
    """Delays in seconds; ``next`` doubles up to ``cap``, ``reset`` after a success. Each delay is 50 to 100 % of its nominal value."""

    base: float
    cap: float
    rng: random.Random = field(default_factory=random.Random)
    failures: int = 0

    def next(self) -> float:
        nominal: float = min(self.cap, self.base * 2.0 ** min(self.failures, 32))
        self.failures += 1
        return nominal * self.rng.uniform(0.5, 1.0)

    def reset(self) -> None:
        self.failures = 0
