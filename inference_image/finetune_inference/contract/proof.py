"""Does a loaded adapter do anything, and does it do the same as last time? Judged by the first token after a fixed prompt.

An engine can load an adapter, answer 200 and serve the base model. The likeliest first tokens with and without it tell: their
log-probabilities must differ by more than the engine's own noise. The same figures are the adapter's fingerprint.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from finetune_inference.contract.desired import FingerprintToken

PROMPT = "The quick brown fox jumps over the lazy dog. Question: what is asked here, and how urgent is it? Answer:"
ALTERNATIVES = 5
"""vLLM gives five log-probabilities per token unless it was started with more."""


@dataclass(frozen=True)
class Tolerances:
    """In natural logarithms. ``effect`` is the least difference that counts, ``fingerprint`` the largest that is the same adapter."""

    effect: float = 1e-3
    fingerprint: float = 0.25


def effect_of(adapter: Mapping[str, float], before: Mapping[str, float], after: Mapping[str, float]) -> tuple[float, float]:
    """The effect against the base model, asked before and after, and the noise between these two."""
    return min(distance(adapter, before), distance(adapter, after)), distance(before, after)


def has_effect(effect: float, noise: float, tolerances: Tolerances) -> bool:
    """Whether the effect is one: above the least that counts and above twice the noise."""
    return effect > max(tolerances.effect, 2 * noise)


def fingerprint(tokens: Mapping[str, float]) -> tuple[FingerprintToken, ...]:
    """The likeliest tokens, each by a hash of its text: a status holds no words of an answer."""
    likely = sorted(tokens.items(), key=lambda entry: (-entry[1], entry[0]))[:ALTERNATIVES]
    return tuple(FingerprintToken(token=hashlib.sha256(text.encode()).hexdigest()[:12], logprob=f"{value:.4f}") for text, value in likely)


def drift(one: Iterable[FingerprintToken], other: Iterable[FingerprintToken]) -> float:
    """How far two fingerprints are apart."""
    return distance({entry.token: float(entry.logprob) for entry in one}, {entry.token: float(entry.logprob) for entry in other})


def distance(one: Mapping[str, float], other: Mapping[str, float]) -> float:
    """The largest difference of a log-probability, at least: a token that only one side lists is no likelier on the other than its last."""
    if not one or not other:
        return 0.0
    floors = min(one.values()), min(other.values())
    both = [abs(one[token] - other[token]) for token in one.keys() & other.keys()]
    left = [max(0.0, one[token] - floors[1]) for token in one.keys() - other.keys()]
    right = [max(0.0, other[token] - floors[0]) for token in other.keys() - one.keys()]
    return max((*both, *left, *right))
