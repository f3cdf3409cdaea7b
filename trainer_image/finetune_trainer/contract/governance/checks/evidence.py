"""What was proven on the way: bytes that are still those that were sealed, gates, signatures and records."""

from collections.abc import Iterator

from finetune_trainer.contract.governance.case import Case
from finetune_trainer.contract.governance.facts import Proof, Stage
from finetune_trainer.contract.governance.findings import Finding, find, shown
from finetune_trainer.contract.governance.policy import Policy, demanded
from finetune_trainer.contract.governance.rules import RuleId, Severity
from finetune_trainer.contract.results import Verdict


def bytes_are_the_sealed_ones(case: Case) -> Iterator[Finding]:
    for entry in case.facts.reads:
        if entry.sealed != entry.read:
            yield find(RuleId.DIGEST_MISMATCH, entry.field, f"read {shown(entry.read)}, sealed {shown(entry.sealed)}")


def gates_have_passed(case: Case) -> Iterator[Finding]:
    for gate in case.facts.gates:
        field = f"gates[{shown(gate.name)[1:-1]}]"
        if gate.verdict is Verdict.FAIL:
            yield find(RuleId.GATE_FAILED, field, "it has failed")
        elif gate.verdict is Verdict.INCONCLUSIVE:
            more = "more items" if gate.items_to_decide is None else f"n={gate.items_to_decide} items"
            yield find(RuleId.NEED_MORE_ITEMS, field, f"it needs {more}")


def some_gate_has_decided(case: Case, policy: Policy) -> Iterator[Finding]:
    """Without a gate none will decide, which is told before anything is trained; what is trained already waits."""
    if not demanded(policy.require_evaluation, case.level):
        return
    if case.facts.stage is not Stage.PROMOTE:
        if case.facts.subject.gated is False:
            yield find(RuleId.GATE_MISSING, "spec.evaluation.gates", "names no gate, so that none will decide", policy)
    elif all(gate.verdict is Verdict.NOT_GATED for gate in case.facts.gates):
        yield find(RuleId.GATE_MISSING, "gates", "no gate has decided", policy, Severity.HOLD)


def proofs_are_valid(case: Case) -> Iterator[Finding]:
    adapter = case.facts.adapter
    if adapter is None:
        return
    for name, proof in (("signature", adapter.signature), ("record", adapter.record)):
        if proof is Proof.INVALID:
            yield find(RuleId.UNVERIFIED, f"{adapter.field}.{name}", f"its {name} does not fit it")
    if adapter.revoked:
        yield find(RuleId.REVOKED, adapter.field, f"it is revoked{f': {adapter.revocation}' if adapter.revocation else ''}")


def proofs_are_there(case: Case, policy: Policy) -> Iterator[Finding]:
    adapter = case.facts.adapter
    if adapter is None or not demanded(policy.require_proofs, case.level):
        return
    for name, proof in (("signature", adapter.signature), ("record", adapter.record)):
        if proof is Proof.ABSENT or (proof is None and case.due(RuleId.UNVERIFIED)):
            yield find(RuleId.UNVERIFIED, f"{adapter.field}.{name}", f"it has no {name}", policy)
