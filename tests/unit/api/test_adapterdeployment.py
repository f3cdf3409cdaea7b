"""The ``AdapterDeployment``: its schema is one that an API server accepts, its models read what is stored, its rules say what to do."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

import finetune_operator.domain.rollout
from finetune_inference.contract import Route
from finetune_operator.api.adapterdeployment.conditions import CONDITION_MEANING, ConditionType
from finetune_operator.api.adapterdeployment.defaults import checks_of, steps_of
from finetune_operator.api.adapterdeployment.deployment import AdapterDeployment
from finetune_operator.api.adapterdeployment.reasons import EXPLANATIONS, OF_GOVERNANCE, Reason
from finetune_operator.api.adapterdeployment.spec import AdapterDeploymentSpec, AnalysisSpec, Capacity, CheckKind, RollbackSpec, Step
from finetune_operator.api.adapterdeployment.status import AdapterDeploymentStatus
from finetune_operator.api.crd import ADAPTERDEPLOYMENT, KINDS, to_yaml
from finetune_operator.api.markers import RULES_KEY
from finetune_operator.domain.analysis.criteria import CheckName, LowTraffic
from tests.unit.api.structural import problems

MINIMAL: dict[str, Any] = {
    "modelName": "ticket-router",
    "adapter": {"fineTuneJobRef": {"name": "ticket-router"}},
    "baseModel": {"uri": "pvc://models/tiny-chat"},
    "server": {"managed": {"engine": "Transformers"}},
}


def spec(**changes: Any) -> AdapterDeploymentSpec:
    return AdapterDeploymentSpec.model_validate({**MINIMAL, **changes})


def schema_of(part: str) -> dict[str, Any]:
    schema: dict[str, Any] = ADAPTERDEPLOYMENT.to_manifest()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"][part]
    return schema


def nodes(schema: dict[str, Any]) -> list[dict[str, Any]]:
    inside = [*schema.get("properties", {}).values(), *([schema["items"]] if "items" in schema else [])]
    return [schema, *(node for child in inside for node in nodes(child))]


@pytest.mark.parametrize("part", ["spec", "status"])
def test_the_schema_is_structural_bounded_and_described(part: str):
    assert list(problems(schema_of(part), part)) == []


def test_a_status_has_no_defaults_so_that_what_is_written_is_what_is_read():
    assert not any("default" in node for node in nodes(schema_of("status")))


def test_the_rule_about_capacity_in_mode_merged_knows_the_defaults_that_the_schema_puts_in():
    figures = Capacity().model_dump(by_alias=True)
    (rule,) = [rule for rule in AdapterDeploymentSpec.RULES if "self.server.capacity." in rule.rule]
    wanted = " && ".join(f"self.server.capacity.{name} == {figure}" for name, figure in figures.items())
    assert rule.rule == f"self.mode != 'Merged' || ({wanted})"


def test_the_rule_about_a_switch_that_nothing_watches_knows_the_defaults_of_analysis():
    (rule,) = [rule for rule in AdapterDeploymentSpec.RULES if rule.field_path == ".strategy.blueGreen"]
    for path, value in _told(AnalysisSpec().model_dump(by_alias=True, mode="json"), "self.analysis"):
        said = f"!has({path})" if value is None else f"{path} == {value!r}"
        assert said in rule.rule
    assert RollbackSpec().automatic
    assert "&& self.rollback.automatic)" in rule.rule


def _told(document: dict[str, Any], path: str) -> Iterator[tuple[str, Any]]:
    for name, value in document.items():
        if isinstance(value, dict):
            yield from _told(value, f"{path}.{name}")
        else:
            yield f"{path}.{name}", value


def test_every_rule_has_a_message_that_says_what_to_do():
    rules = [rule for node in nodes(schema_of("spec")) for rule in node.get(RULES_KEY, [])]
    assert len(rules) > 20
    for rule in rules:
        assert 20 <= len(rule["message"]) <= 200, rule
        assert "\n" not in rule["message"]


def test_the_yaml_is_the_same_every_time_and_has_no_anchors():
    text = to_yaml(ADAPTERDEPLOYMENT.to_manifest())
    assert text == to_yaml(ADAPTERDEPLOYMENT.to_manifest())
    assert "&id" not in text


def test_the_definition_is_shipped():
    assert ADAPTERDEPLOYMENT in KINDS


def test_people_see_model_phase_step_weight_versions_and_reason():
    assert [column.name for column in ADAPTERDEPLOYMENT.columns if not column.wide] == [
        "Model", "Phase", "Step", "Weight", "Stable", "Canary", "Loaded", "Reason", "Age",
    ]  # fmt: skip


def test_columns_and_scale_point_at_fields_that_exist():
    scale = ADAPTERDEPLOYMENT.to_manifest()["spec"]["versions"][0]["subresources"]["scale"]
    paths = [column.json_path for column in ADAPTERDEPLOYMENT.columns if column.json_path.startswith((".spec", ".status"))]
    whole = {"properties": {part: schema_of(part) for part in ("spec", "status")}}
    for path in [*paths, *scale.values()]:
        node = whole
        for part in path.split("[")[0].removeprefix(".").split("."):
            assert part in node["properties"], path
            node = node["properties"][part]


def test_a_minimal_object_gets_a_canary_in_three_steps_with_its_checks():
    full = spec()
    assert [step.weight for step in steps_of(full)] == [5, 25, 50]
    assert checks_of(full, steps_of(full)[0]) == {CheckKind.ERRORS, CheckKind.TTFT, CheckKind.ITL}
    assert full.analysis.on_insufficient_data == "Pause"
    assert full.rollback.automatic


def test_a_step_may_look_at_fewer_checks_or_none():
    full = spec()
    assert checks_of(full, Step(weight=5, analysis=[CheckKind.ERRORS, CheckKind.SCHEMA])) == {CheckKind.ERRORS}
    assert checks_of(full, Step(weight=5, analysis=[])) == frozenset()


def test_blue_green_is_one_step_of_copies_at_most():
    assert steps_of(spec(strategy={"blueGreen": {}})) == ()
    steps = steps_of(spec(strategy={"blueGreen": {"shadow": {"percent": 10}, "bakeSeconds": 60}}))
    assert [(step.weight, step.shadow.percent if step.shadow else None, step.bake_seconds) for step in steps] == [(None, 10, 60)]
    assert [step.bake_seconds for step in steps_of(spec(strategy={"blueGreen": {"shadow": {}}}))] == [600]


def test_what_was_written_is_read_back_the_same():
    route = Route(deployment="a", alias="a", generation=3, stable="a--0123456789ab", versions=["a--0123456789ab"])
    status = AdapterDeploymentStatus(observed_generation=2, route=route, loaded="3/3")
    assert AdapterDeploymentStatus.model_validate(status.to_manifest()) == status
    stored = {"metadata": {"name": "a", "namespace": "b"}, "spec": spec().to_manifest(), "status": status.to_manifest()}
    assert AdapterDeployment.from_manifest(stored).status == status


def test_the_route_is_stored_as_routers_read_it():
    route = Route(deployment="a", alias="a", generation=3, stable="a--0123456789ab", versions=["a--0123456789ab"])
    assert Route.model_validate(AdapterDeploymentStatus(route=route).to_manifest()["route"]) == route
    assert schema_of("status")["properties"]["route"]["x-kubernetes-preserve-unknown-fields"] is True


def test_the_checks_of_the_api_are_those_of_the_analysis():
    assert {kind.value for kind in CheckKind} == {name.value for name in CheckName}
    policies = schema_of("spec")["properties"]["analysis"]["properties"]["onInsufficientData"]["enum"]
    assert set(policies) == {policy.value for policy in LowTraffic}


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"modelName": "Ticket Router"}, "modelName"),
        ({"strategy": {"canary": {"steps": [{"weight": 100}]}}}, "strategy"),
        ({"analysis": {"checks": {"errors": {"maxRate": 0.05}}}}, "analysis"),
        ({"adapter": {"uri": "s3://bucket/adapter", "digest": "sha256:" + "a" * 64}}, "adapter"),
        ({"approvedVersion": "latest"}, "approvedVersion"),
    ],
)
def test_a_spec_that_does_not_fit_names_the_field(changes: dict[str, Any], field: str):
    with pytest.raises(ValidationError) as error:
        spec(**changes)
    assert error.value.errors()[0]["loc"][0] == field


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_is_explained_and_one_that_stalls_says_what_to_do(reason: Reason):
    explanation = EXPLANATIONS[reason]
    assert explanation.meaning.endswith(".")
    assert not explanation.stalls or explanation.next_action != "Nothing."
    assert explanation.stalls or not explanation.resumes


@pytest.mark.parametrize("reason", [reason for reason in Reason if reason not in OF_GOVERNANCE])
def test_every_reason_is_in_the_documentation_as_it_is_here(reason: Reason):
    text = (Path(__file__).parents[3] / "docs" / "serving" / "rollout.md").read_text(encoding="utf-8")
    assert f"| `{reason.value}` | {EXPLANATIONS[reason].meaning} | {EXPLANATIONS[reason].advice} |" in text


@pytest.mark.parametrize("reason", [reason for reason in Reason if reason not in OF_GOVERNANCE])
def test_every_reason_is_one_that_a_decision_can_give(reason: Reason):
    rollout = Path(finetune_operator.domain.rollout.__file__).parent
    files = [*rollout.glob("*.py"), rollout.parent / "governance" / "serving.py"]
    assert any(f"Reason.{reason.name}" in path.read_text(encoding="utf-8") for path in files)


def test_every_condition_is_explained():
    assert set(CONDITION_MEANING) == set(ConditionType)
