"""Whatever odd governance reads, there is a plan that can be written."""

import json
from typing import Any

import hypothesis
from hypothesis import given
from hypothesis import strategies as st

from finetune_operator.api.base import rfc3339
from finetune_operator.domain.decide import decide
from finetune_operator.domain.governance.view import GovernanceView, read_policy
from finetune_operator.domain.observed import Observed
from finetune_trainer.contract.governance.facts import Site
from tests.unit.domain.governed import DIGEST, GOVERNED, approval, dataset, policy, registered, view
from tests.unit.domain.samples import NOON, SETTINGS
from tests.unit.domain.test_total import ODD, places, spoiled


def _governed_documents() -> list[dict[str, Any]]:
    """A job before prepare, one that waits for approvals, and one that has ended: with all that is known of governance, as documents."""
    demand = policy(approvals=[{"stage": "Train"}])
    waiting = registered(view(demand, datasets=(dataset(),)))
    waiting.step_through()
    ended = registered(view(datasets=(dataset(),)))
    ended.finish()
    refused = registered(view(), {})
    stored = {"metadata": {"name": "house", "uid": "u", "generation": 1}, "spec": {"approvals": [{"stage": "Train", "count": 1}]}}
    word = approval("bob", DIGEST, expiresAt=rfc3339(NOON))
    known = {"policy": stored, "dataset": dataset(), "approval": word, "namespace": dict(GOVERNED)}
    return [{"resource": dict(job.observe().resource), **known} for job in (refused, waiting, ended)]


DOCUMENTS = _governed_documents()
PLACES = [places(document) for document in DOCUMENTS]


@given(st.data())
@hypothesis.settings(max_examples=150, deadline=None)
def test_anything_odd_in_what_governance_reads_gives_a_plan_that_can_be_written(data: st.DataObject) -> None:
    number = data.draw(st.integers(0, len(DOCUMENTS) - 1))
    odd = spoiled(DOCUMENTS[number], data.draw(st.sampled_from(PLACES[number])), data.draw(ODD))
    labels = {key: value for key, value in odd["namespace"].items() if isinstance(value, str)} if isinstance(odd["namespace"], dict) else {}
    seen = GovernanceView(labels, (read_policy(odd["policy"]),), {"tickets": odd["dataset"]}, (odd["approval"],), Site())
    plan = decide(Observed(resource=odd["resource"], settings=SETTINGS, governance=seen), NOON)
    json.dumps(plan.status)
