"""Requests about Approvals and TrainingDatasets, each with what the operator's own code makes of the same document.

What the schema refuses is `INVALID`: it must be what the operator's models cannot read, or what they hold to be another version.
"""

import copy
from dataclasses import dataclass
from random import Random
from typing import Any

from pydantic import ValidationError

from finetune_operator.api.governance.approval import Approval
from finetune_operator.api.governance.dataset import TrainingDataset, TrainingDatasetSpec
from finetune_operator.domain.governance.view import read_approval
from finetune_trainer.contract.governance import Classification, RuleId
from finetune_trainer.contract.governance.enclosure import EnclosureRuleId
from finetune_trainer.contract.governance.labels import clearance_of
from finetune_trainer.contract.governance.vocabulary import ANY
from tests.cluster.admission.governed import ALICE, BOB, DIGEST, PLACES, Object, approval, approvals, dataset, datasets
from tests.cluster.admission.population import EVE, EVES, FRANK, LEVELS, OTHER, Asked, Settled, described
from tests.cluster.admission.sealed import opinion

INVALID = "Invalid"
STAGES = ("Train", "Review", "Promote", "Waive")
GIVEN_AT = "2026-11-25T12:00:00Z"
LATER, EARLIER = "2031-01-01T00:00:00Z", "2026-11-25T23:00:00Z"
_WRONG: dict[str, tuple[Any, ...]] = {
    "subjectDigest": ("sha256:abc", "a" * 64, "sha512:" + "a" * 128, "sha256:" + "A" * 64, "", None),
    "stage": ("train", "Accept", "", None),
    "approver": ("", "x" * 254, None),
    "reason": ("", "x" * 1025, None),
    "expiresAt": ("tomorrow", "2026-13-01T00:00:00Z", "2026-11-25", "1795000000", "", 7),
    "subjectRef": ({}, {"name": ""}, {"name": "Asked_0"}, {"name": "asked-0", "resource": "adapterdeployments"}, None),
}
"""What no schema takes, field by field; None: the field is left out."""
_WRONG_DATA: dict[str, tuple[Any, ...]] = {
    "uri": ("hf://org/data", "pvc://", "pvc://data/../x", "", None),
    "digest": ("sha256:abc", "a" * 64, ""),
    "level": ("Public", "secret", "", None),
    "regimes": (["PHI"], [""], ["a b"]),
    "residency": ("Moon", ""),
    "retainUntil": ("tomorrow", "2026-11-25"),
    "withdrawn": ({}, {"reason": ""}),
}


@dataclass(frozen=True)
class Asking:
    """One request, and the rules that refuse it by the operator's own code."""

    user: str
    method: str
    path: str
    body: Object
    expected: frozenset[str]


def about_an_approval(random: Random, population: list[Settled], _number: int) -> Asking:
    there = random.choice(population)
    careful = random.random() < 0.4  # as it should be, or with one slip
    user = BOB if careful else random.choice((ALICE, BOB, BOB, EVE, EVE, FRANK))
    subject = there.asked[0] if careful else random.choice(there.asked)
    right = subject.digest or DIGEST
    digest = random.choice((right, right, right, OTHER, random.choice(there.asked).digest or DIGEST))
    document = approval(subject.name, user if random.random() < 0.9 else random.choice((ALICE, BOB, EVE)), digest, random.choice(STAGES))
    document["spec"] |= random.choice(({}, {"expiresAt": LATER}, {"expiresAt": EARLIER}))
    if random.random() < 0.05:
        document["spec"]["subjectRef"] = {"name": "absent"}
    if random.random() < 0.1:
        field = random.choice(sorted(_WRONG))
        _put(document["spec"], field, random.choice(_WRONG[field]))
    return Asking(user, "POST", approvals(there.namespace), document, _of_approval(there, user, document))


def about_data(random: Random, population: list[Settled], number: int) -> Asking:
    there = random.choice(population)
    if random.random() < 0.5:
        return _changed_data(random, there)
    document = dataset("new", **described(random, number))
    if random.random() < 0.2:
        document["spec"]["regimes"] = [*document["spec"]["regimes"], "hippa"]
    if random.random() < 0.1:
        document["spec"]["residency"] = "moon"
    if random.random() < 0.2:
        field = random.choice(sorted(_WRONG_DATA))
        _put(document["spec"], field, random.choice(_WRONG_DATA[field]))
    return Asking(ALICE, "POST", datasets(there.namespace), document, _of_data(there, document))


def _of_approval(there: Settled, user: str, document: Object) -> frozenset[str]:
    """By the model, by what RBAC was told, and by `decide`, which must say of what is left whether it counts."""
    try:
        spec = Approval.model_validate(document).spec
    except ValidationError:
        return frozenset({INVALID})
    if spec.approver != user:
        return frozenset({EnclosureRuleId.APPROVER_MISMATCH})
    if not _may(user, spec.stage, spec.subject_ref.name):
        return frozenset({EnclosureRuleId.NOT_ALLOWED_TO_APPROVE})
    subject = next((each for each in there.asked if each.name == spec.subject_ref.name), None)
    return _by_decision(subject, document) if subject is not None else frozenset()


def _by_decision(subject: Asked, document: Object) -> frozenset[str]:
    """What expires is for the operator alone: the API server has no clock here, so that it is asked about one that has not."""
    created = {**document, "metadata": {**document["metadata"], "creationTimestamp": GIVEN_AT}}
    lasting = {**created, "spec": {name: value for name, value in document["spec"].items() if name != "expiresAt"}}
    given = read_approval(lasting, subject.name)
    assert given is not None
    expired = read_approval(created, subject.name)
    held, short = opinion(subject.facts, given), opinion(subject.facts, expired) if expired is not None else None
    assert short is not None
    assert short.counts == (held.counts and document["spec"].get("expiresAt") != EARLIER)
    found = set()
    own = subject.facts.subject.submitter in {"", given.approver}
    if own:
        found.add(EnclosureRuleId.SELF_APPROVAL)
    if given.subject_digest != subject.digest:
        found.add(EnclosureRuleId.APPROVAL_OF_ANOTHER_DECISION)
    assert held.counts is (not found), "what the API server refuses never counts, and what it lets pass does"
    assert not held.flaw or ("another decision" in held.flaw) is (not own), held.flaw
    return frozenset(found)


def _may(user: str, stage: str, name: str) -> bool:
    """As the population was given rights."""
    if user == EVE:
        return stage == "Promote" or (stage == "Train" and name in EVES)
    return user in {ALICE, BOB}


def _of_data(there: Settled, document: Object) -> frozenset[str]:
    try:
        spec = TrainingDataset.model_validate(document).spec
    except ValidationError:
        return frozenset({INVALID})
    site = there.view.site
    found = set()
    if set(spec.regimes) - site.known_regimes or spec.residency not in {ANY, *site.residencies}:
        found.add(RuleId.LABEL_INVALID.value)
    if list(clearance_of(dict(there.labels)).lacks(Classification(level=spec.level, regimes=frozenset(spec.regimes)))):
        found.add(RuleId.NAMESPACE_NOT_CLEARED.value)
    return frozenset(found)


def _changed_data(random: Random, there: Settled) -> Asking:
    """One field of data that are registered: most are what makes them this version of the data."""
    before = random.choice(there.registered)
    changes: dict[str, Any] = {
        "level": random.choice(LEVELS),
        "regimes": random.choice(([], ["phi"], before["spec"]["regimes"])),
        "residency": random.choice((ANY, *PLACES, None)),
        "digest": random.choice((DIGEST, OTHER, None)),
        "uri": random.choice(("pvc://data/other.jsonl", before["spec"]["uri"])),
        "withdrawn": random.choice(({"reason": "consent withdrawn"}, {"reason": "licence ended"}, None)),
        "owner": random.choice(("claims", "ward", None)),
        "purposes": random.choice((["triage"], ["ads"], [], None)),
        "retainUntil": random.choice((LATER, "2030-01-01T00:00:00Z", None)),
        "claimsSafeHarbor": random.choice((True, False, None)),
    }
    change = {name: changes[name] for name in random.sample(sorted(changes), random.choice((1, 1, 2)))}
    after = copy.deepcopy(before)
    for name, value in change.items():
        _put(after["spec"], name, value)
    expected = frozenset() if _same_version(_read(before), _read(after)) else frozenset({INVALID})
    path = datasets(there.namespace, before["metadata"]["name"])
    return Asking(ALICE, "PATCH", path, {"spec": change}, expected)


def _read(document: Object) -> TrainingDatasetSpec:
    return TrainingDataset.model_validate(document).spec


def _same_version(before: TrainingDatasetSpec, after: TrainingDatasetSpec) -> bool:
    """Everything that makes it this version is as it was, and withdrawn is not taken back."""
    open_fields = {"owner", "withdrawn"}
    stays = before.withdrawn is None or before.withdrawn == after.withdrawn
    return stays and before.model_dump(exclude=open_fields) == after.model_dump(exclude=open_fields)


def _put(spec: Object, field: str, value: Any) -> None:
    if value is None:
        spec.pop(field, None)
    else:
        spec[field] = value
