"""One question, one answer: may this happen, by the facts and the policies? The same function wherever it is asked.

Pure and total: no clock, no file, no cluster, and an answer for whatever the facts are. Every rule is asked and every finding is told.
"""

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import Final

from finetune_trainer.contract.governance.case import Case
from finetune_trainer.contract.governance.checks import agreed, classified, data, evidence, place, used
from finetune_trainer.contract.governance.facts import Facts
from finetune_trainer.contract.governance.findings import Decision, Finding, in_order, outcome_of
from finetune_trainer.contract.governance.policy import Policy

CHECKS: Final[tuple[Callable[[Case], Iterator[Finding]], ...]] = (
    classified.labels_are_words,
    classified.labels_only_rise,
    classified.declared_as_high_as_its_parts,
    classified.data_are_registered,
    classified.data_are_not_withdrawn,
    classified.namespace_is_cleared,
    classified.adapter_is_cleared,
    classified.some_policy_applies,
    classified.policies_are_still_there,
    place.data_lie_in_one_place,
    place.some_node_complies,
    place.one_runtime_class_is_asked_for,
    place.no_api_token_is_mounted,
    used.weights_are_data,
    used.obligations_are_told,
    used.served_name_is_as_asked,
    data.data_may_be_read,
    data.purpose_is_the_datas,
    data.identifiers_are_declared,
    data.safe_harbor_holds,
    data.secrets_are_absent,
    evidence.bytes_are_the_sealed_ones,
    evidence.gates_have_passed,
    evidence.proofs_are_valid,
    agreed.approvals_can_be_read,
)
"""What holds whatever the policies say."""

POLICY_CHECKS: Final[tuple[Callable[[Case, Policy], Iterator[Finding]], ...]] = (
    place.places_are_allowed,
    place.sources_are_allowed,
    place.endpoints_are_allowed,
    place.bound_node_complies,
    place.egress_is_closed,
    used.everything_is_pinned,
    used.licences_are_allowed,
    data.purpose_is_the_policys,
    data.scan_sees_enough,
    data.data_are_good_enough,
    evidence.some_gate_has_decided,
    evidence.proofs_are_there,
    agreed.purpose_is_stated,
    agreed.enough_have_approved,
    agreed.sample_is_reviewed,
)
"""What each policy that applies asks for, each by itself."""


def decide(facts: Facts, policies: Iterable[Policy], now: datetime) -> Decision:
    """Judge the facts by every rule and every policy that applies; ``now`` is aware.

    By it approvals expire, and the time that data may be kept; nothing else does.

    The outcome is the worst of what blocks. What an auditing policy finds is told and blocks nothing; such a policy never counts as the one
    that must apply from confidential on. Adding a policy takes no finding away but that none applies, or that this very one is gone.
    """
    case = Case.of(facts, tuple(policies), now)
    found = [finding for check in CHECKS for finding in check(case)]
    found += [finding for policy in case.policies for check in POLICY_CHECKS for finding in check(case, policy)]
    findings = in_order(finding.model_copy(update={"waived": True}) if agreed.waived(case, finding) else finding for finding in found)
    return Decision(
        outcome=outcome_of(findings),
        findings=findings,
        classification=case.classification,
        obligations=used.obligations(case),
        policies=tuple(f"{policy.name}@{policy.generation}" for policy in case.policies),
        digest=case.digest,
    )
