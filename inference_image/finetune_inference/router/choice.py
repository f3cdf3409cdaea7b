"""Which version answers a request: pure, so that every router and every worker of it decides alike.

Callers stand at fixed positions of a ring. A canary of weight ``w`` has the positions below ``w`` percent of the ring, so a higher
weight moves callers to the canary and never one of them back.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from finetune_inference.contract import POINTS, Fallback, Route, Stickiness, Track


@dataclass(frozen=True)
class Choice:
    """The version to ask; ``instead`` answers if no pod has it, which counts against ``version``."""

    version: str
    track: Track = Track.LIVE
    instead: str | None = None


def position(salt: str, key: str) -> int:
    """Where a caller stands, in ``range(POINTS)``: the same in every process, forever."""
    digest = hashlib.blake2b(f"{salt}\0{key}".encode("utf-8", "surrogateescape"), digest_size=8).digest()
    return int.from_bytes(digest, "big") % POINTS


def has_canary(place: int, weight: int) -> bool:
    """Whether the caller at ``place`` gets a canary of ``weight`` percent; once true, true for every higher weight."""
    return place * 100 < weight * POINTS


def sticky_key(stickiness: Stickiness, headers: Mapping[str, str], user: str, credential: str) -> str | None:
    """What a caller is known by: the header, else the first fallback that the request has. ``credential`` is a digest, no secret."""
    if stickiness.header and (value := headers.get(stickiness.header)):
        return f"header:{value}"
    for fallback in stickiness.fallback:
        value = user if fallback is Fallback.USER else credential
        if value:
            return f"{fallback.value}:{value}"
    return None


def choose(route: Route, key: str | None, *, breaker_open: bool, draw: Callable[[int], int]) -> Choice | None:
    """The version for a live request; none if the route has none. ``draw(n)``: a random integer below ``n``, for callers without a key."""
    if route.canary is None or (route.stable is not None and (route.weight == 0 or breaker_open)):
        return Choice(route.stable) if route.stable else None
    if route.stable is None:
        return Choice(route.canary)
    place = draw(POINTS) if key is None else position(route.salt, key)
    return Choice(route.canary, instead=route.stable) if has_canary(place, route.weight) else Choice(route.stable)


def pinned(route: Route, version: str) -> Choice | None:
    """A probe's choice: exactly this version, or none if the route does not list it."""
    return Choice(version, Track.PROBE) if version in route.versions else None
