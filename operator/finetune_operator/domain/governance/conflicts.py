"""Demands that no job can meet, of one policy or of two together, found from the policies alone before anybody submits a job.

Told are conflicts at every level that both policies concern, and only of policies that one and the same job comes under: in a namespace
that both match, and under no regimes that exclude each other. What two policies leave to a certain place or source is no conflict.
"""

from collections.abc import Iterable, Iterator, Sequence

from finetune_operator.api.governance.status import CONFLICT_LIMIT, SHOWN_CONFLICTS
from finetune_trainer.contract.governance import Policy
from finetune_trainer.contract.governance.facts import Site
from finetune_trainer.contract.governance.findings import listed
from finetune_trainer.contract.governance.policy import allowed
from finetune_trainer.contract.governance.vocabulary import EVERYTHING, Level


def conflicts_of(policy: Policy, others: Iterable[Policy], site: Site, meeting: Iterable[str]) -> list[str]:
    """In words and in order, at most as many as a status holds; ``meeting`` are the names of policies that share a namespace with it."""
    found = [*_alone(policy, site)]
    shared = set(meeting)
    for other in sorted(others, key=lambda each: each.name):
        if other.name != policy.name and other.name in shared and policy.enforced and other.enforced and _meet(policy, other):
            found += _between(policy, other)
    return [text if len(text) <= CONFLICT_LIMIT else text[: CONFLICT_LIMIT - 1] + "…" for text in found[:SHOWN_CONFLICTS]]


def closed_above(policy: Policy) -> list[str]:
    """Fields that are unset, and so allow nothing from confidential on, of a policy that begins below it."""
    if policy.match.min_level >= Level.CONFIDENTIAL:
        return []
    unset = (("zones", policy.zones), ("dataSources", policy.data_sources), ("licences.allow", policy.licences.allow))
    return [f"spec.{field}" for field, value in unset if value is None]


def _alone(policy: Policy, site: Site) -> Iterator[str]:
    level = policy.match.min_level
    if not allowed(policy.data_sources, level):
        yield f"spec.dataSources {_why(policy.data_sources)}: no data can be used. Name sources, or * for any."
    if not allowed(policy.licences.allow, level) and not policy.licences.conditional:
        yield f"spec.licences.allow {_why(policy.licences.allow)}: no base model can be used. Name licences, or * for any."
    zones = allowed(policy.zones, level)
    if not zones:
        yield f"spec.zones {_why(policy.zones)}: no node can be used. Name places, or * for any."
    if policy.purposes is not None and not policy.purposes:
        yield "spec.purposes is empty, which allows nothing: no job can state an allowed one. Name purposes, or leave it out for any."
    known = {EVERYTHING, *site.residencies}
    if policy.zones is not None and zones and known.isdisjoint(zones):
        yield f"spec.zones names no place that this installation knows ({listed(site.residencies)}): {listed(zones)}."
    unknown = sorted(set(policy.match.regimes) - site.known_regimes)
    if unknown and len(unknown) == len(policy.match.regimes):
        yield f"spec.match.regimes names no regime that this installation knows: {listed(unknown)}; the policy never applies."


def _why(entries: Sequence[str] | None) -> str:
    return "is unset, which allows nothing from confidential on" if entries is None else "is empty, which allows nothing"


def _meet(one: Policy, other: Policy) -> bool:
    return not one.match.regimes or not other.match.regimes or not set(one.match.regimes).isdisjoint(other.match.regimes)


def _between(one: Policy, other: Policy) -> Iterator[str]:
    """Lists that are each satisfiable and have nothing in common, at the lowest level that both concern."""
    level = max(one.match.min_level, other.match.min_level)
    zones = allowed(one.zones, level), allowed(other.zones, level)
    if all(zones) and EVERYTHING not in (*zones[0], *zones[1]) and set(zones[0]).isdisjoint(zones[1]):
        yield f"spec.zones ({listed(zones[0])}) and those of policy {other.name} ({listed(zones[1])}) have no place in common."
    sources = allowed(one.data_sources, level), allowed(other.data_sources, level)
    if all(sources) and not any(_overlap(first, second) for first in sources[0] for second in sources[1]):
        yield f"spec.dataSources ({listed(sources[0])}) and those of policy {other.name} ({listed(sources[1])}) have no place in common."
    if one.purposes and other.purposes and set(one.purposes).isdisjoint(other.purposes):
        yield f"spec.purposes ({listed(one.purposes)}) and those of policy {other.name} ({listed(other.purposes)}) have none in common."
    licences = _terms(one, level), _terms(other, level)
    if all(licences) and EVERYTHING not in licences[0] | licences[1] and _denied_by_each_other(one, other, licences):
        yield f"spec.licences and those of policy {other.name} allow no licence in common."


def _overlap(first: str, second: str) -> bool:
    """Whether something can lie below both prefixes."""
    if EVERYTHING in (first, second):
        return True
    one, other = (f"{prefix.rstrip('/')}/" for prefix in (first, second))
    return one.startswith(other) or other.startswith(one)


def _terms(policy: Policy, level: Level) -> frozenset[str]:
    return frozenset(allowed(policy.licences.allow, level)) | frozenset(policy.licences.conditional)


def _denied_by_each_other(one: Policy, other: Policy, licences: tuple[frozenset[str], frozenset[str]]) -> bool:
    """Whether all that the one allows is denied by the other; otherwise a key and a category can always mean the same licence."""
    return licences[0] <= set(other.licences.deny) or licences[1] <= set(one.licences.deny)
