"""Reasons are a closed, explained list, and the pages name every field and every reason."""

import re
from pathlib import Path

from finetune_operator.api.adapterdeployment import conditions as serving_conditions
from finetune_operator.api.adapterdeployment import reasons as serving_reasons
from finetune_operator.api.conditions import CONDITION_MEANING, ConditionType
from finetune_operator.api.crd import ADAPTERDEPLOYMENT, FINETUNEJOB
from finetune_operator.api.governance.status import STANDINGS, StandingReason
from finetune_operator.api.reasons import EXPLANATIONS, Reason
from finetune_operator.api.reference import fields_page, reasons_page, serving_reasons_page
from finetune_trainer.contract.governance import RuleId

ROOT = Path(__file__).resolve().parents[3]


def test_every_reason_is_explained() -> None:
    assert set(EXPLANATIONS) == set(Reason)


def test_every_standing_of_policies_and_data_is_explained_and_on_the_page() -> None:
    page = (ROOT / "docs/governance.md").read_text(encoding="utf-8")
    assert set(STANDINGS) == set(StandingReason)
    for reason in StandingReason:
        assert f"| `{reason}` |" in page


def test_every_condition_is_explained() -> None:
    assert set(CONDITION_MEANING) == set(ConditionType)


def test_whoever_is_stalled_is_told_what_to_do() -> None:
    for reason, explanation in EXPLANATIONS.items():
        if explanation.stalls:
            assert explanation.next_action != "Nothing.", reason
            assert ConditionType.STALLED in explanation.conditions, reason


def test_no_reason_is_documented_that_nothing_says() -> None:
    folder = ROOT / "operator/finetune_operator"
    said = "".join(
        path.read_text(encoding="utf-8") for layer in ("domain", "domain/governance", "control") for path in (folder / layer).glob("*.py")
    )
    spelled = [reason for reason in Reason if reason not in set(RuleId)]  # a rule is a reason by its own name
    assert [reason.name for reason in spelled if not re.search(rf"\bReason\.{reason.name}\b", said)] == []


def test_reasons_are_camel_case_and_fit_a_condition() -> None:
    for reason in Reason:
        assert reason.isalnum(), reason
        assert reason[0].isupper(), reason
        assert len(reason) <= 64, reason


def test_the_pages_name_every_field_and_every_reason() -> None:
    fields, reasons = fields_page(FINETUNEJOB), reasons_page()
    for path in ("spec.training.learningRate", "spec.resources.tolerations[].key", "status.currentRun.retries.preemptions"):
        assert f"`{path}`" in fields
    for reason in Reason:
        assert f"| `{reason}` |" in reasons


def test_the_pages_of_serving_name_every_field_and_every_reason() -> None:
    fields, reasons = fields_page(ADAPTERDEPLOYMENT), serving_reasons_page()
    for path in ("spec.server.managed.replicas", "spec.modelName", "status.route"):
        assert f"`{path}`" in fields
    for word in (*serving_reasons.Reason, *serving_conditions.ConditionType):
        assert f"| `{word}` |" in reasons
