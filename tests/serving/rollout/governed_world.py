"""The small world under governance: a namespace with a clearance, adapters that are known by what they were made of, data withdrawn."""

from dataclasses import replace
from typing import Any

from finetune_operator.api.adapterdeployment.status import AdapterRecordStatus
from finetune_operator.api.governance.job import ClassificationStatus
from finetune_operator.api.governance.policy import GovernancePolicySpec
from finetune_operator.api.inputs import TrainedOn
from finetune_operator.domain.governance.serving import ServingView, Withdrawal
from finetune_operator.domain.rollout.observed import RolloutObserved
from finetune_trainer.contract.governance import Policy
from finetune_trainer.contract.governance.facts import Proof
from finetune_trainer.contract.governance.vocabulary import Level
from tests.serving.rollout.world import ONE, TWO, World, spec, version

GOVERNED = {"finetune.dev/governed": "true", "finetune.dev/clearance-level": "internal"}
DECLARED = {"finetune.dev/level": "internal", "finetune.dev/residency": "any"}
GRACE = 600.0
SHORT: dict[str, Any] = {
    "strategy__canary__steps": [{"weight": 50, "bakeSeconds": 10}],
    "rollback__keepStableLoadedSeconds": 3600,
    "rollback__drainTimeoutSeconds": 30,
}


def adapter(digest: str, level: str = "internal", data: str = "tickets", **changes: Any) -> AdapterRecordStatus:
    """What its job says of it."""
    used = TrainedOn(namespace="support", name=data, uri=f"pvc://data/{data}.jsonl")
    classification = ClassificationStatus(level=Level(level))
    return AdapterRecordStatus(digest=digest, classification=classification, data=[used], **changes)


def withdrawal(name: str = "tickets", reason: str = "consent revoked", **changes: Any) -> Withdrawal:
    return replace(Withdrawal("support", name, f"pvc://data/{name}.jsonl", "", reason), **changes)


def policy(name: str = "house", **spec: Any) -> Policy:
    return GovernancePolicySpec.model_validate(spec).to_policy(name, f"uid-{name}", 1)


PROVEN = {"signature": Proof.VALID, "record": Proof.VALID}


class GovernedWorld(World):
    """``view`` is None where the operator does not look after governance."""

    def __init__(self, **changes: Any) -> None:
        super().__init__(spec(**{**SHORT, **changes}))
        self.labels = dict(DECLARED)
        self.rate = 200.0
        self.view: ServingView | None = ServingView(namespace_labels=dict(GOVERNED), grace_seconds=GRACE)
        self.know(adapter(ONE, data="older"), adapter(TWO))

    @property
    def seen(self) -> ServingView:
        assert self.view is not None
        return self.view

    def know(self, *adapters: AdapterRecordStatus) -> None:
        self.view = replace(self.seen, adapters={**self.seen.adapters, **{each.digest: each for each in adapters}})

    def clear_for(self, level: str) -> None:
        self.view = replace(self.seen, namespace_labels={**self.seen.namespace_labels, "finetune.dev/clearance-level": level})

    def withdraw(self, *withdrawn: Withdrawal) -> None:
        self.view = replace(self.seen, withdrawals=withdrawn or (withdrawal(),))

    @property
    def resource(self) -> dict[str, Any]:
        found = super().resource
        return {**found, "metadata": {**found["metadata"], "labels": dict(self.labels)}}

    def observe(self) -> RolloutObserved:
        return replace(super().observe(), governance=self.view)

    @property
    def governance(self) -> dict[str, Any]:
        found: dict[str, Any] = (self.status or {}).get("governance") or {}
        return found


def serving(**changes: Any) -> GovernedWorld:
    """The first version answers, by the rules."""
    world = GovernedWorld(**changes)
    world.run_until("Healthy")
    return world


def updated(**changes: Any) -> GovernedWorld:
    """A second version answers, and the first is loaded still."""
    world = serving(**changes)
    world.publish(TWO)
    world.run(300)
    assert world.stable == version(TWO)
    return world
