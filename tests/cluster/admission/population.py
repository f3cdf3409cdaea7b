"""Namespaces and objects with labels of every kind, older than the policies, so that there is also what no policy would let pass."""

import os
from dataclasses import dataclass
from random import Random

from finetune_operator.domain.governance.view import GovernanceView
from finetune_trainer.contract.governance import Policy
from tests.cluster.admission.governed import (
    ALICE,
    CLEARANCE,
    DIGEST,
    GOVERNED,
    LEVEL,
    PLACES,
    RESIDENCY,
    SITE_REGIMES,
    Object,
    Site,
    dataset,
    deployment,
    deployments,
    job,
    jobs,
    policy,
    view_of,
)

OTHER = "sha256:" + "b" * 64
FULL = bool(os.environ.get("FINETUNE_FULL_SIZE"))
NAMESPACES, OBJECTS_EACH = (40, 24) if FULL else (12, 6)
LEVELS = ("public", "internal", "confidential", "restricted")
REGIMES = ("export", "pci", "phi", *SITE_REGIMES)
YES = "true"


@dataclass(frozen=True)
class Stored:
    """An object that is there; ``path`` is where."""

    path: str
    labels: dict[str, str]


@dataclass(frozen=True)
class Settled:
    namespace: str
    labels: dict[str, str]
    jobs: tuple[Stored, ...]
    deployments: tuple[Stored, ...]
    view: GovernanceView
    datasets: tuple[Object, ...]

    @property
    def policies(self) -> tuple[Policy, ...]:
        return self.view.policies


def settle(site: Site, random: Random) -> list[Settled]:
    """Make them, each object with a submitter."""
    return [_settled(site, random) for _ in range(NAMESPACES)]


def labels_of_object(random: Random) -> dict[str, str]:
    """Of some of them nothing is wrong, of most of them little is."""
    drawn = {LEVEL: mostly(random, LEVELS, "Public", "top", ""), RESIDENCY: mostly(random, (*PLACES, "any", "any"), "moon", "")}
    kept = {key: value for key, value in drawn.items() if random.random() < 0.9}
    return {**kept, **_regimes(random, "finetune.dev/regime.", 3), "team": random.choice("ab")}


def mostly(random: Random, usual: tuple[str, ...], *odd: str) -> str:
    return random.choice(usual) if random.random() < 0.9 else random.choice(odd)


def _settled(site: Site, random: Random) -> Settled:
    labels = _labels_of_namespace(random)
    name = site.namespace(labels)
    here = {**labels, "kubernetes.io/metadata.name": name}
    policies, data = _policies(random, name), _datasets(random)
    site.tell(name, policies, data)
    return Settled(
        name,
        labels,
        tuple(_stored(site, random, name, f"old-{number}") for number in range(OBJECTS_EACH)),
        tuple(_stored(site, random, name, f"old-{number}", serving=True) for number in range(OBJECTS_EACH // 2)),
        view_of(here, policies, data),
        data,
    )


def _policies(random: Random, namespace: str) -> tuple[Object, ...]:
    """Up to three, of which most are enforced and some match; where none does, everything from confidential on is refused."""
    return tuple(policy(f"policy-{number}", **_demand(random, namespace)) for number in range(random.randint(0, 3)))


def _demand(random: Random, namespace: str) -> Object:
    match: Object = {"minLevel": random.choice(("public", "public", "confidential", "restricted"))}
    if random.random() < 0.2:
        match["regimes"] = random.sample(REGIMES, random.randint(1, 2))
    if random.random() < 0.2:
        match["namespaceLabels"] = {"kubernetes.io/metadata.name": random.choice((namespace, "elsewhere"))}
    many, far = [f"zone-{number}" for number in range(8)], [f"pvc://c{number}/x" for number in range(7)]
    zones = random.choice((None, ["*"], ["*"], list(PLACES), [PLACES[0]], many))
    sources = random.choice((None, ["*"], ["*"], ["pvc://data"], ["pvc://data/", "pvc://other/a"], far))
    digests = random.choice((None, None, True, False))
    trackers = random.choice((None, ["*"], ["*"], ["mlflow.site"], ["mlflow.site", *(f"t{number}.site" for number in range(8))], []))
    judges = random.choice(
        (None, ["*"], ["*"], ["*"], ["*"], ["judge.site"], ["judge.site", *(f"j{number}.site" for number in range(8))], [])
    )
    demands = {"zones": zones, "dataSources": sources, "requireDigests": digests, "trackerHosts": trackers, "judgeHosts": judges}
    mode = {"mode": "Audit"} if random.random() < 0.2 else {}
    return {"match": match, **mode, **{field: value for field, value in demands.items() if value is not None}}


def _datasets(random: Random) -> tuple[Object, ...]:
    """Some lie in the same place, some have the same digest, few are withdrawn."""
    return tuple(dataset(f"data-{number}", **_described(random, number)) for number in range(4))


def _described(random: Random, number: int) -> Object:
    said: Object = {
        "uri": random.choice((f"pvc://data/{number}.jsonl", "pvc://data/same.jsonl", f"pvc://other/a/b/{'long' * 20}")),
        "digest": random.choice((None, DIGEST, OTHER)),
        "level": random.choice(("public", *LEVELS)),
        "regimes": random.sample(REGIMES, random.choice((0, 0, 1, 2))),
        "residency": random.choice(("any", "any", *PLACES)),
    }
    return {**said, **({"withdrawn": {"reason": "consent withdrawn"}} if random.random() < 0.1 else {})}


def _labels_of_namespace(random: Random) -> dict[str, str]:
    some = {
        CLEARANCE: mostly(random, ("internal", "confidential", "restricted", "restricted"), "Restricted", ""),
        LEVEL: mostly(random, LEVELS, "top"),
        RESIDENCY: mostly(random, PLACES, "moon", "any"),
    }
    present = {CLEARANCE: 0.9, LEVEL: 0.3, RESIDENCY: 0.4}
    kept = {key: value for key, value in some.items() if random.random() < present[key]}
    cleared = {f"finetune.dev/clearance.{regime}": mostly(random, (YES,), "yes") for regime in REGIMES if random.random() < 0.8}
    floor = _regimes(random, "finetune.dev/regime.", 2) if random.random() < 0.2 else {}
    return {GOVERNED: mostly(random, (YES,) * 3, "True"), **kept, **cleared, **floor}


def _regimes(random: Random, prefix: str, most: int) -> dict[str, str]:
    names = random.sample([*REGIMES, "hippa"] if random.random() < 0.1 else REGIMES, random.randint(0, most))
    return {f"{prefix}{name}": mostly(random, (YES,) * 3, "yes", "") for name in names}


def _stored(site: Site, random: Random, namespace: str, name: str, *, serving: bool = False) -> Stored:
    labels = labels_of_object(random)
    document: Object = deployment(name, labels) if serving else job(name, labels, ALICE)
    where = deployments if serving else jobs
    site.ask(ALICE, "POST", where(namespace), document)
    return Stored(where(namespace, name), labels)
