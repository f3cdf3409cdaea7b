"""What governance hands to the pod of one attempt: by what it was let begin, so that the pod can decide again before any data are mounted.

It travels as an annotation of the pod, which the preflight reads as a file, and the pod's own command line names its digest: who could
change the one cannot change the other (docs/adr/0029-the-pod-decides-again.md).
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Final, Literal

from pydantic import Field

from finetune_trainer.contract.base import Digest, Document, Named
from finetune_trainer.contract.governance.case import Case
from finetune_trainer.contract.governance.facts import Facts, Labels, Name
from finetune_trainer.contract.governance.policy import Policy

MOST_NODES: Final = 1000
"""Names of nodes in one order."""


class NodeKind(Document):
    """Nodes with the same labels, as far as those are labels that no kubelet can write."""

    labels: Labels
    names: tuple[Name, ...] = Field(max_length=MOST_NODES)


class Order(Named):
    """``facts`` are those of the decision with the digest ``decision``, and ``policies`` those that it was taken under and that block.

    ``nodes`` are those that there were, where a policy or the place of the data asks for some; a node that came later is in none.
    """

    kind: Literal["GovernanceOrder"]
    run_key: str = Field(pattern=r"^[0-9a-f]{64}$")
    facts: Facts
    policies: tuple[Policy, ...] = Field(max_length=4096)
    decision: Digest
    nodes: tuple[NodeKind, ...] = Field(default=(), max_length=MOST_NODES)

    def labels_of(self, node: str) -> Labels | None:
        """Of the node with this name; None for one that was not there."""
        return next((kind.labels for kind in self.nodes if node in kind.names), None)


def order_of(facts: Facts, policies: Iterable[Policy], now: datetime, *, run_key: str, nodes: Mapping[str, Mapping[str, str]]) -> Order:
    """The order of one attempt. What a pod has no use for stays out: other nodes than by name, and policies that do not apply or audit.

    With these, whether one is gone is nothing that a pod could say; whoever orders has just decided it.
    """
    case = Case.of(facts, tuple(policies), now)
    return Order(
        kind="GovernanceOrder",
        run_key=run_key,
        facts=facts.model_copy(update={"nodes": None, "bound_node": None, "accepted_under": ()}),
        policies=tuple(policy for policy in case.policies if policy.enforced),
        decision=case.digest,
        nodes=_kinds(nodes),
    )


def _kinds(nodes: Mapping[str, Mapping[str, str]]) -> tuple[NodeKind, ...]:
    kinds: dict[tuple[tuple[str, str], ...], list[str]] = {}
    for name in sorted(nodes)[:MOST_NODES]:
        kinds.setdefault(tuple(sorted(nodes[name].items())), []).append(name)
    return tuple(NodeKind(labels=dict(labels), names=tuple(names)) for labels, names in kinds.items())
