"""How the next token is chosen: values that a request carries, and nothing that needs torch."""

import random
import secrets
from dataclasses import dataclass


@dataclass(frozen=True)
class Sampling:
    """Temperature 0 takes the likeliest token; ``logprobs`` is how many alternatives are told per token, None for none at all."""

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    seed: int | None = None
    logprobs: int | None = None

    @property
    def greedy(self) -> bool:
        return self.temperature == 0.0 or self.top_k == 1

    def source(self) -> random.Random:
        """Draws of this request alone, so that its neighbours in a batch cannot change what a seed gives."""
        return random.Random(secrets.randbits(64) if self.seed is None else self.seed)  # noqa: S311 - chooses words, no secrets


@dataclass(frozen=True)
class Likelihoods:
    """Natural logarithms: of the chosen token, and of the likeliest ones in falling order."""

    chosen: float
    top: tuple[tuple[int, float], ...]


@dataclass(frozen=True)
class Choice:
    """``finite`` is false when the logits hold no number: the model, with this adapter, has no answer."""

    token: int
    finite: bool
    likelihoods: Likelihoods | None = None
