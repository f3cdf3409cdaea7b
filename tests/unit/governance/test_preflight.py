"""The decision once more, as a pod takes it: the same where the pod sees what was sealed, and a refusal with its rule where it does not."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from finetune_trainer.contract.governance import Decision, Outcome, Policy, RuleId
from finetune_trainer.contract.governance.facts import Probe
from finetune_trainer.contract.governance.order import MOST_NODES, Order, order_of
from finetune_trainer.contract.governance.preflight import Seen, decide_again
from tests.unit.governance.samples import INLINE, NODE, NOW, OTHER, POLICY, approvals, changed, run_of, sealed_order

RUN = run_of(INLINE)
SEEN = Seen(run=RUN, node="node-1", egress=Probe.CLOSED, api_token=False)
LATER = NOW + timedelta(minutes=10)


def again(order: Order, seen: Seen = SEEN, now: Any = LATER) -> Decision:
    """As from the file: what is written is what is read."""
    return decide_again(Order.from_json(order.to_json()), seen, now)


def blocking(found: Decision) -> set[RuleId]:
    return {finding.rule for finding in found.findings if finding.blocks}


def test_what_was_let_begin_begins_where_the_pod_sees_the_same() -> None:
    order = sealed_order()
    found = again(order)
    assert (found.outcome, found.digest) == (Outcome.ALLOW, order.decision)
    assert not found.holds_up(order.facts.stage)


def other_run(**changes: Any) -> Seen:
    return replace(SEEN, run=run_of(changed(INLINE, changes)))


RESTARTED = RUN.model_copy(update={"run": RUN.run.model_copy(update={"key": "cd" * 32})})
MORE_ROWS = RUN.model_copy(update={"validation": RUN.validation.model_copy(update={"source": RUN.dataset})})


@pytest.mark.parametrize(
    ("seen", "rules"),
    [
        (replace(SEEN, egress=Probe.OPEN), {RuleId.EGRESS_NOT_ENFORCED}),
        (replace(SEEN, egress=None), {RuleId.EGRESS_PROBE_INCONCLUSIVE}),
        (replace(SEEN, api_token=True), {RuleId.API_TOKEN_MOUNTED}),
        (replace(SEEN, node="node-2"), {RuleId.RESIDENCY_VIOLATION}),
        (other_run(datasets__0__digest=OTHER), {RuleId.DIGEST_MISMATCH, RuleId.APPROVAL_STALE}),
        (
            other_run(datasets__0__uri="pvc://elsewhere/notes.jsonl"),
            {RuleId.RESIDENCY_VIOLATION, RuleId.DIGEST_MISMATCH, RuleId.APPROVAL_STALE},
        ),
        (other_run(baseModel__digest=None), {RuleId.NOT_PINNED, RuleId.DIGEST_MISMATCH, RuleId.APPROVAL_STALE}),
        (other_run(subject__uid="u-9"), {RuleId.DIGEST_MISMATCH, RuleId.APPROVAL_STALE}),
        (other_run(trackers=["https://tracker.example"]), {RuleId.EXTERNAL_TRACKER, RuleId.DIGEST_MISMATCH, RuleId.APPROVAL_STALE}),
        (other_run(judges=["https://judge.example.evil.test/v1"]), {RuleId.EXTERNAL_JUDGE, RuleId.DIGEST_MISMATCH, RuleId.APPROVAL_STALE}),
        (replace(SEEN, run=RESTARTED), {RuleId.DIGEST_MISMATCH}),
        (replace(SEEN, run=MORE_ROWS), {RuleId.DATASET_NOT_REGISTERED, RuleId.DIGEST_MISMATCH, RuleId.APPROVAL_STALE}),
    ],
)
def test_what_the_pod_sees_takes_the_place_of_what_was_sealed(seen: Seen, rules: set[RuleId]) -> None:
    found = again(sealed_order(), seen)
    assert blocking(found) == rules
    assert found.holds_up(sealed_order().facts.stage)


@pytest.mark.parametrize(
    ("document", "given", "rule"),
    [
        (INLINE, {"expiresAt": NOW + timedelta(minutes=5)}, RuleId.APPROVAL_STALE),
        (INLINE, {"givenAt": NOW + timedelta(minutes=5) - timedelta(days=1)}, RuleId.APPROVAL_STALE),
        (changed(INLINE, {"datasets__0__retainUntil": NOW + timedelta(minutes=5)}), {}, RuleId.RETENTION_EXPIRED),
    ],
)
def test_what_runs_out_between_start_and_pod_is_refused_by_the_pods_own_clock(
    document: dict[str, Any], given: dict[str, Any], rule: RuleId
) -> None:
    digest = sealed_order(document).decision
    order = sealed_order(document, given=approvals(digest, "bob", "carol", **given))
    assert not blocking(again(order, now=NOW))
    assert blocking(again(order)) == {rule}


def test_a_waiver_counts_as_long_as_it_lasts() -> None:
    document = changed(INLINE, {"scan__entire": False})
    digest = sealed_order(document).decision
    people = approvals(digest, "bob", "carol")
    order = sealed_order(document, given=people + approvals(digest, "bob", "carol", stage="Waive", expiresAt=NOW + timedelta(minutes=5)))
    assert not blocking(again(order, now=NOW))
    assert blocking(again(order)) == {RuleId.SCAN_COVERAGE_GAP}


def test_an_order_whose_policies_are_not_those_of_the_decision_is_no_order() -> None:
    order = sealed_order()
    stricter = Policy.model_validate({**POLICY, "generation": 4, "dataSources": ["pvc://other"]})
    assert blocking(again(order.model_copy(update={"policies": (stricter,)}))) >= {
        RuleId.RESIDENCY_VIOLATION,
        RuleId.DIGEST_MISMATCH,
        RuleId.APPROVAL_STALE,
    }
    loosened = Policy.model_validate({**POLICY, "approvals": []})
    for policies in ((), (loosened,)):
        assert RuleId.DIGEST_MISMATCH in blocking(again(order.model_copy(update={"policies": policies})))


def test_a_node_that_came_later_is_not_judged_and_one_that_nothing_is_asked_of_may_be_any() -> None:
    assert not blocking(again(sealed_order(), replace(SEEN, node="node-3")))


def test_before_prepare_only_a_refusal_holds() -> None:
    document = changed(INLINE, {"stage": "Accept", "scan": None, "dataReport": None, "review": None})
    order = sealed_order(document, given=[])
    assert not again(order).holds_up(order.facts.stage)
    assert again(order, replace(SEEN, api_token=True)).holds_up(order.facts.stage)
    unproven = again(order, replace(SEEN, egress=None))
    assert unproven.holds_up(order.facts.stage)
    assert blocking(unproven) == {RuleId.EGRESS_PROBE_INCONCLUSIVE}


def test_an_order_holds_what_a_pod_needs_and_no_more() -> None:
    order = sealed_order(INLINE, {}, {"name": "watching", "mode": "Audit"}, {"name": "elsewhere", "match": {"minLevel": "restricted"}})
    assert [policy.name for policy in order.policies] == ["phi"]
    assert order.facts.nodes is None
    assert order.labels_of("node-1") == NODE
    many = {f"node-{number:04}": NODE for number in range(MOST_NODES + 1)}
    crowded = order_of(order.facts, order.policies, NOW, run_key="ab" * 32, nodes=many)
    assert sum(len(kind.names) for kind in crowded.nodes) == MOST_NODES
    assert crowded.labels_of(f"node-{MOST_NODES:04}") is None
    assert len(crowded.to_json()) < 32 * 1024
