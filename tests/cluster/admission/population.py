"""Namespaces and objects with labels of every kind, older than the policies, so that there is also what no policy would let pass."""

import os
from dataclasses import dataclass
from random import Random

from finetune_operator.domain.governance.view import GovernanceView
from finetune_trainer.contract.governance import Facts, Policy
from tests.cluster.admission.governed import (
    ALICE,
    BOB,
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
    datasets,
    deployment,
    deployments,
    job,
    jobs,
    policy,
    view_of,
)
from tests.cluster.admission.sealed import sealed_facts, sealing

OTHER = "sha256:" + "b" * 64
FULL = bool(os.environ.get("FINETUNE_FULL_SIZE"))
NAMESPACES, OBJECTS_EACH = (40, 24) if FULL else (12, 4)
LEVELS = ("public", "internal", "confidential", "restricted")
REGIMES = ("export", "pci", "phi", *SITE_REGIMES)
YES = "true"
WELL_KEPT = 3
"""Each third namespace is cleared for everything, and somebody has thought of a policy for it: there what is labelled with care passes."""
EVE, FRANK = "eve", "frank"
"""Eve may approve the training of `EVES` and the promotion of anything, Frank may make Approvals and approve nothing."""
EVES = ("asked-0", "asked-1")
ASKED: tuple[tuple[str | None, bool], ...] = ((ALICE, True), (BOB, True), (ALICE, False), (None, True))
"""Jobs that approvals are asked for: who has submitted it, and whether it is decided."""


@dataclass(frozen=True)
class Stored:
    """An object that is there; ``path`` is where."""

    path: str
    labels: dict[str, str]


@dataclass(frozen=True)
class Asked:
    """A job that waits for people; ``digest`` is that of its sealed decision, empty while nothing is decided."""

    name: str
    facts: Facts
    digest: str


@dataclass(frozen=True)
class Settled:
    namespace: str
    labels: dict[str, str]
    kept: bool
    jobs: tuple[Stored, ...]
    deployments: tuple[Stored, ...]
    view: GovernanceView
    datasets: tuple[Object, ...]
    asked: tuple[Asked, ...]
    registered: tuple[Object, ...]
    """TrainingDatasets that are there, as they were made."""

    @property
    def policies(self) -> tuple[Policy, ...]:
        return self.view.policies


def settle(site: Site, random: Random) -> list[Settled]:
    """Make them, each object with a submitter."""
    return [_settled(site, random, kept=number % WELL_KEPT == 0) for number in range(NAMESPACES)]


def labels_of_object(random: Random) -> dict[str, str]:
    """Of some of them nothing is wrong, of most of them little is."""
    drawn = {LEVEL: mostly(random, LEVELS, "Public", "top", ""), RESIDENCY: mostly(random, (*PLACES, "any", "any"), "moon", "")}
    kept = {key: value for key, value in drawn.items() if random.random() < 0.9}
    return {**kept, **_regimes(random, "finetune.dev/regime.", 3), "team": random.choice("ab")}


def mostly(random: Random, usual: tuple[str, ...], *odd: str) -> str:
    return random.choice(usual) if random.random() < 0.9 else random.choice(odd)


def described(random: Random, number: int) -> Object:
    """What is said of data: some lie in the same place, some have the same digest, few are withdrawn."""
    said: Object = {
        "uri": random.choice(
            (f"pvc://data/{number}.jsonl", "pvc://data/same.jsonl", "pvc://data/same.jsonl/part", f"pvc://other/a/b/{'long' * 20}")
        ),
        "digest": random.choice((None, DIGEST, OTHER)),
        "level": random.choice(("public", *LEVELS)),
        "regimes": random.sample(REGIMES, random.choice((0, 0, 1, 2))),
        "residency": random.choice(("any", "any", *PLACES)),
    }
    return {**said, **({"withdrawn": {"reason": "consent withdrawn"}} if random.random() < 0.1 else {})}


def _settled(site: Site, random: Random, *, kept: bool) -> Settled:
    labels = _labels_of_kept(random) if kept else _labels_of_namespace(random)
    name = site.namespace(labels)
    here = {**labels, "kubernetes.io/metadata.name": name}
    data = tuple(dataset(f"data-{number}", **described(random, number)) for number in range(4))
    policies = (_thoughtful(random), *_policies(random, name)[:1]) if kept else _policies(random, name)
    site.tell(name, policies, data)
    _let_approve(site, name)
    return Settled(
        name,
        labels,
        kept,
        tuple(_stored(site, random, name, f"old-{number}") for number in range(OBJECTS_EACH)),
        tuple(_stored(site, random, name, f"old-{number}", serving=True) for number in range(OBJECTS_EACH // 2)),
        view_of(here, policies, data),
        data,
        tuple(_asked(site, name, number, *who) for number, who in enumerate(ASKED)),
        tuple(_registered(site, random, name, number) for number in range(3)),
    )


def _thoughtful(random: Random) -> Object:
    """A policy that applies at every level and leaves the places of data open."""
    digests = random.choice(({}, {"requireDigests": True}))
    outside = {
        "trackerHosts": random.choice((["*"], ["mlflow.site"])),
        "judgeHosts": random.choice((["*"], ["judge.site", *(f"j{number}.site" for number in range(8))])),
    }
    return policy("thoughtful", zones=random.choice((["*"], list(PLACES))), dataSources=["*"], **outside, **digests)


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


def _labels_of_kept(random: Random) -> dict[str, str]:
    place = {RESIDENCY: random.choice(PLACES)} if random.random() < 0.3 else {}
    return {GOVERNED: YES, CLEARANCE: "restricted", **place, **{f"finetune.dev/clearance.{regime}": YES for regime in REGIMES}}


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


def _let_approve(site: Site, namespace: str) -> None:
    """Give Eve and Frank their rights, and wait until they have them: all of a Role is known at once."""
    group, every = "finetune.dev", {"resources": ["finetunejobs"]}
    make = {"apiGroups": [group], "resources": ["approvals"], "verbs": ["create", "list"]}
    train = {"apiGroups": [group], **every, "resourceNames": list(EVES), "verbs": ["approve-train"]}
    site.allow(EVE, namespace, make, train, {"apiGroups": [group], **every, "verbs": ["approve-promote"]})
    site.allow(FRANK, namespace, make)
    for user in (EVE, FRANK):
        site.until_listed(user, namespace)


def _asked(site: Site, namespace: str, number: int, submitter: str | None, decided: bool) -> Asked:
    name = f"asked-{number}"
    made = site.ask(ALICE, "POST", jobs(namespace), job(name, {}, submitter))
    facts = sealed_facts(namespace, name, made["metadata"]["uid"], submitter or "")
    digest = sealing(facts)
    if decided:
        governance = {"decision": "NeedsApproval", "digest": digest, "classification": {"level": "internal"}}
        site.ask(ALICE, "PATCH", f"{jobs(namespace, name)}/status", {"status": {"governance": governance}}, "application/merge-patch+json")
    return Asked(name, facts, digest if decided else "")


def _registered(site: Site, random: Random, namespace: str, number: int) -> Object:
    document = dataset(f"old-{number}", **described(random, number))
    if random.random() < 0.4:
        document["spec"] |= {"owner": "claims", "purposes": ["triage"], "retainUntil": "2031-01-01T00:00:00Z"}
    site.ask(ALICE, "POST", datasets(namespace), document)
    return document
