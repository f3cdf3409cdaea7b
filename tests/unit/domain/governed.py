"""Jobs of which governance has a say, and what it reads: policies, registered data, approvals."""

from typing import Any

from finetune_operator.api.base import rfc3339
from finetune_operator.api.governance.policy import GovernancePolicySpec
from finetune_operator.domain.governance.view import GovernanceView
from finetune_trainer.contract.governance import Policy
from finetune_trainer.contract.governance.facts import Site
from finetune_trainer.contract.governance.vocabulary import LABEL_ZONE
from tests.unit.domain.samples import NOON, SETTINGS, spec
from tests.unit.domain.world import World

GOVERNED = {"finetune.dev/governed": "true", "finetune.dev/clearance-level": "restricted", "finetune.dev/clearance.phi": "true"}
LABELS = {"finetune.dev/level": "internal", "finetune.dev/residency": "any"}
SUBMITTED = {"finetune.dev/submitted-by": "ann"}
PINNED = "registry.example/trainer@sha256:" + "1" * 64
DIGEST = "sha256:" + "2" * 64


def policy(name: str = "house", generation: int = 1, **spec: Any) -> Policy:
    return GovernancePolicySpec.model_validate(spec).to_policy(name, f"uid-{name}", generation)


def dataset(name: str = "tickets", **changes: Any) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": "support"}, "spec": {"uri": "pvc://data/tickets.jsonl", "level": "internal", **changes}}


def approval(name: str, digest: str, *, stage: str = "Train", subject: str = "ticket-router", **changes: Any) -> dict[str, Any]:
    metadata = {"name": name, "namespace": "support", "creationTimestamp": rfc3339(NOON)}
    said = {"stage": stage, "subjectRef": {"name": subject}, "subjectDigest": digest, "approver": name, "reason": "seen", **changes}
    return {"metadata": metadata, "spec": said}


def view(*policies: Policy, labels: dict[str, str] | None = None, datasets: tuple[Any, ...] = (), approvals: Any = ()) -> GovernanceView:
    known = {each["metadata"]["name"]: each for each in datasets}
    site, nodes = Site(residencies=("onprem",)), {"node-1": {LABEL_ZONE: "onprem"}}
    return GovernanceView(GOVERNED if labels is None else labels, policies, known, tuple(approvals), site, nodes, target_reached=True)


def world(seen: GovernanceView | None, labels: dict[str, str] | None = None, **changes: Any) -> World:
    made = World(spec=spec(**changes), settings=SETTINGS, governance=seen)
    made.labels, made.annotations = dict(LABELS if labels is None else labels), dict(SUBMITTED)
    made.settle()
    return made


def registered(seen: GovernanceView, labels: dict[str, str] | None = None, **changes: Any) -> World:
    """A job that uses the dataset ``tickets``."""
    document = spec(**changes)
    document["dataset"] = {"ref": {"name": "tickets"}, "validation": {"percent": 10}}
    made = World(spec=document, governance=seen)
    made.labels, made.annotations = dict(LABELS if labels is None else labels), dict(SUBMITTED)
    made.settle()
    return made


def told(world: World, kind: str) -> tuple[str, str, str]:
    found = next((each for each in (world.status or {})["conditions"] if each["type"] == kind), None)
    return (found["status"], found["reason"], found.get("message", "")) if found else ("", "", "")
