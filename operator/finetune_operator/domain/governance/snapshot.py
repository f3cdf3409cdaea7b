"""What the API server is told about a governed namespace: the policies that match it and the data registered there, as its facts."""

from typing import Final

from finetune_operator.api.governance.current import MOST_DATASETS, MOST_POLICIES, GovernanceFactsSpec, PolicyInForce, RegisteredData
from finetune_operator.domain.governance.view import GovernanceView
from finetune_trainer.contract.governance import Policy
from finetune_trainer.contract.governance.findings import shown

ROOM: Final = 1_000_000
"""Bytes of all that is listed, in JSON; the API server stores objects of up to 1.5 MB."""


def snapshot(view: GovernanceView) -> GovernanceFactsSpec:
    """In order of names. What does not fit is left out, data before policies, and ``complete`` says so."""
    matching = [policy for policy in view.policies if policy.match.namespace_labels.items() <= dict(view.namespace_labels).items()]
    found: list[PolicyInForce | RegisteredData] = []
    left = ROOM
    wanted: list[PolicyInForce | RegisteredData] = [
        *(_in_force(policy) for policy in sorted(matching, key=lambda policy: policy.name)),
        *_registered(view),
    ]
    for entry in wanted:
        size = len(entry.model_dump_json(by_alias=True, exclude_none=True).encode())
        if size > left:
            break
        left -= size
        found.append(entry)
    policies = [entry for entry in found if isinstance(entry, PolicyInForce)][:MOST_POLICIES]
    datasets = [entry for entry in found if isinstance(entry, RegisteredData)][:MOST_DATASETS]
    return GovernanceFactsSpec(policies=policies, datasets=datasets, complete=len(policies) + len(datasets) == len(wanted))


def _in_force(policy: Policy) -> PolicyInForce:
    return PolicyInForce(
        name=policy.name,
        mode=policy.mode,
        min_level=policy.match.min_level,
        regimes=list(policy.match.regimes),
        zones=_listed(policy.zones),
        data_sources=_listed(policy.data_sources),
        tracker_hosts=_listed(policy.tracker_hosts),
        judge_hosts=_listed(policy.judge_hosts),
        require_digests=policy.require_digests,
    )


def _registered(view: GovernanceView) -> list[RegisteredData]:
    """Of what cannot be read nothing is said: jobs cannot refer to it either."""
    named = ((name, view.dataset(name)) for name in sorted(view.datasets))
    return [
        RegisteredData(
            name=name,
            uri=record.uri,
            digest=record.digest or "",
            level=record.level,
            regimes=sorted(record.regimes),
            residency=record.residency,
            withdrawn=shown(record.withdrawn.reason)[1:-1] if record.withdrawn is not None else "",
        )
        for name, record in named
        if record is not None
    ]


def _listed(entries: tuple[str, ...] | None) -> list[str] | None:
    return None if entries is None else list(entries)
