"""What the checks look at: the facts, what follows from them together, and the policies that apply."""

from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

from finetune_trainer.contract.base import Digest, canonical_json, digest_of
from finetune_trainer.contract.governance import labels
from finetune_trainer.contract.governance.classification import Classification, strictest
from finetune_trainer.contract.governance.facts import Facts, Stage
from finetune_trainer.contract.governance.labels import Reading
from finetune_trainer.contract.governance.policy import Policy
from finetune_trainer.contract.governance.rules import RULES, RuleId
from finetune_trainer.contract.governance.vocabulary import REGIMES_OF, Entity, Level

_STAGES = {stage: position for position, stage in enumerate(Stage)}
UNCLASSIFIED = Classification(level=Level.RESTRICTED)
"""What an adapter without a classification counts as in a governed namespace."""


@dataclass(frozen=True)
class Case:
    """One question. ``now`` is aware; by it approvals expire, and the time that data may be kept."""

    facts: Facts
    policies: tuple[Policy, ...]
    """Those that apply, in an order of their own."""
    now: datetime
    others: frozenset[str]
    """Names of policies that do not apply."""
    declared: Reading
    """The object's own labels."""
    floor: Reading
    """The namespace's."""
    stated: Classification
    """What labels and records say, without what the scan has raised."""
    classification: Classification
    """The effective one."""

    @classmethod
    def of(cls, facts: Facts, policies: tuple[Policy, ...], now: datetime) -> "Case":
        """Classify the facts, and leave out the policies that do not apply to them."""
        legal = facts.site.known_regimes, frozenset(facts.site.residencies)
        declared = labels.read(facts.subject.labels, *legal, required=facts.namespace.governed)
        floor = labels.read(facts.namespace.labels, *legal, required=False)
        parts = [declared.classification, floor.classification, facts.recorded, adapter_classification(facts)]
        parts += [dataset.classification for dataset in facts.datasets]
        stated = strictest(part for part in parts if part is not None)
        raised = Classification.model_construct(
            level=Level.PUBLIC, regimes=frozenset(undeclared(facts, stated).values()), residencies=frozenset()
        )
        effective = strictest((stated, raised))
        applying = [policy for policy in policies if policy.match.applies(facts.namespace.labels, effective)]
        others = frozenset(policy.name for policy in policies) - {policy.name for policy in applying}
        in_order = tuple(sorted(applying, key=lambda policy: (policy.name, policy.uid, policy.generation, policy.content)))
        return cls(facts, in_order, now, others, declared, floor, stated, effective)

    @property
    def level(self) -> Level:
        return self.classification.level

    @property
    def serving(self) -> bool:
        return self.facts.stage is Stage.SERVE

    def due(self, rule: RuleId) -> bool:
        """Whether what this rule asks for must be known by now."""
        since = RULES[rule].since
        return since is not None and _STAGES[self.facts.stage] >= _STAGES[since]

    @cached_property
    def digest(self) -> Digest:
        """What approvals bind to: everything that an approver is to judge, and nothing that comes to be known after that.

        A policy that audits is left out, so that a new one makes no approval stale.
        """
        facts = self.facts
        sealed = facts.model_dump(mode="json", include=_SEALED)
        sealed["subject"] = facts.subject.model_dump(mode="json", include={"name", "uid", "submitter", "authors", "spec_digest"})
        sealed["namespace"] = facts.namespace.name
        sealed["classification"] = self.classification.model_dump(mode="json")
        sealed["policies"] = [policy.identity for policy in self.policies if policy.enforced]
        return digest_of(canonical_json(sealed).encode("utf-8", "surrogatepass"))


_SEALED = {"datasets", "base_model", "images", "trackers", "judges", "data_report", "review", "scan"}


def adapter_classification(facts: Facts) -> Classification | None:
    """The adapter's own; in a governed namespace one without counts as the highest level."""
    if facts.adapter is None:
        return None
    return facts.adapter.classification or (UNCLASSIFIED if facts.namespace.governed else None)


def undeclared(facts: Facts, stated: Classification) -> dict[Entity, str]:
    """Identifiers with a right checksum that are under no regime for them, each with the regime that is raised."""
    found = sorted(hit.entity for hit in (facts.scan.hits if facts.scan else ()) if hit.validated_rows)
    return {
        entity: REGIMES_OF[entity][0].value for entity in found if entity in REGIMES_OF and stated.regimes.isdisjoint(REGIMES_OF[entity])
    }
