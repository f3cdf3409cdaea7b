"""The schema is one that an API server accepts, and says what the models say."""

from typing import Annotated, Any, Literal

import pytest
from jsonschema import Draft4Validator
from pydantic import Field

from finetune_operator.api.base import ApiModel
from finetune_operator.api.crd import ADAPTERDEPLOYMENT, FINETUNEJOB, GOVERNANCE_KINDS, KINDS, CrdSpec, kept_by_helm, to_yaml
from finetune_operator.api.markers import RULES_KEY, ListMap, Rule, UnstoredDefault
from finetune_operator.api.schema import structural_schema
from tests.unit.api.structural import problems

LEAST_DEFAULTS = [(FINETUNEJOB, 21), (ADAPTERDEPLOYMENT, 21), *zip(GOVERNANCE_KINDS, (4, 14, 1, 0), strict=True)]


def schema_of(part: str) -> dict[str, Any]:
    schema: dict[str, Any] = FINETUNEJOB.to_manifest()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"][part]
    return schema


@pytest.mark.parametrize("part", ["spec", "status"])
def test_the_schema_is_structural_bounded_and_described(part: str) -> None:
    assert list(problems(schema_of(part), part)) == []


@pytest.mark.parametrize("kind", GOVERNANCE_KINDS, ids=lambda kind: kind.kind)
def test_the_schemas_of_governance_are_structural_bounded_and_described(kind: CrdSpec) -> None:
    schema = kind.to_manifest()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    assert list(problems(schema, "spec")) == []


@pytest.mark.parametrize(("kind", "least"), LEAST_DEFAULTS, ids=lambda value: getattr(value, "kind", ""))
def test_every_default_fits_its_own_schema(kind: CrdSpec, least: int) -> None:
    spec = kind.to_manifest()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    defaults = [node for node in _nodes(spec) if "default" in node]
    assert len(defaults) >= least
    for node in defaults:
        Draft4Validator(node).validate(node["default"])  # the draft whose exclusive bounds are spelled as Kubernetes spells them


@pytest.mark.parametrize("kind", [FINETUNEJOB, ADAPTERDEPLOYMENT], ids=lambda kind: kind.kind)
def test_every_rule_points_at_a_field_that_exists(kind: CrdSpec) -> None:
    spec = kind.to_manifest()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    pointing = [(node, rule["fieldPath"]) for node in _nodes(spec) for rule in node.get(RULES_KEY, []) if "fieldPath" in rule]
    assert len(pointing) > 10
    for node, path in pointing:
        place = node
        for part in path.removeprefix(".").split("."):
            assert part in place["properties"], path
            place = place["properties"][part]


def _nodes(schema: dict[str, Any]) -> list[dict[str, Any]]:
    inside = [*schema.get("properties", {}).values(), *([schema["items"]] if "items" in schema else [])]
    return [schema, *(node for child in inside for node in _nodes(child))]


@pytest.mark.parametrize(
    ("broken", "word"),
    [
        ({"type": "string"}, "without bound"),
        ({"type": "number"}, "a float"),
        ({"type": "array", "items": {"type": "boolean"}, "maxItems": 2}, "no list type"),
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, "no single type"),
        ({"type": "integer", "exclusiveMinimum": 0}, "is a number"),
        ({"type": "object", "properties": {"a": {"type": "boolean"}}}, "no description"),
        ({"type": "boolean", "title": "A"}, "title"),
    ],
)
def test_the_checker_sees(broken: dict[str, Any], word: str) -> None:
    assert any(word in problem for problem in problems(broken))


def test_a_status_has_no_defaults_so_that_what_is_written_is_what_is_read() -> None:
    assert "default" not in _keys(schema_of("status"))


def _keys(schema: dict[str, Any]) -> list[str]:
    inside = [*schema.get("properties", {}).values(), *([schema["items"]] if "items" in schema else [])]
    return [*schema, *(key for child in inside for key in _keys(child))]


class Inner(ApiModel):
    number: Annotated[int, Field(gt=0)] = 3
    word: Annotated[str, Field(max_length=3)] | None = None


class Entry(ApiModel):
    name: Annotated[str, Field(max_length=8)]


class Outer(ApiModel):
    """Speaks to developers."""

    RULES = (Rule("has(self.inner)", "set inner"),)

    inner: Inner = Field(default=Inner(word="abc"), description="Speaks to users.")
    free: Annotated[Inner, UnstoredDefault()] = Inner()
    one: Literal["A"] = "A"
    entries: Annotated[list[Entry], Field(max_length=2), ListMap(("name",))] = Field(default=[])


def test_what_pydantic_writes_is_spelled_for_kubernetes() -> None:
    schema = structural_schema(Outer)
    assert schema[RULES_KEY] == [{"rule": "has(self.inner)", "message": "set inner"}]
    assert "description" not in schema
    inner = schema["properties"]["inner"]
    assert inner["description"] == "Speaks to users."
    assert inner["default"] == {"number": 3, "word": "abc"}
    assert inner["properties"]["number"]["minimum"] == 0
    assert inner["properties"]["number"]["exclusiveMinimum"] is True
    assert inner["properties"]["word"] == {"type": "string", "maxLength": 3}
    assert schema["properties"]["one"]["enum"] == ["A"]
    assert schema["properties"]["entries"]["x-kubernetes-list-map-keys"] == ["name"]


def test_a_default_may_stay_out_of_the_stored_object() -> None:
    free = structural_schema(Outer)["properties"]["free"]
    assert "default" not in free
    assert not any(key.startswith("x-unstored") for key in free)


class Endless(ApiModel):
    again: "Endless | None" = None


class Either(ApiModel):
    value: Inner | Entry


class Pair(ApiModel):
    pair: tuple[int, int]


@pytest.mark.parametrize(("model", "word"), [(Endless, "contains itself"), (Either, "anyOf"), (Pair, "prefixItems")])
def test_what_no_structural_schema_can_say_is_an_error(model: type[ApiModel], word: str) -> None:
    with pytest.raises(ValueError, match=word):
        structural_schema(model)


def test_every_rule_has_a_message_that_says_what_to_do() -> None:
    rules = [rule for part in ("spec", "status") for rule in _rules(schema_of(part))]
    assert len(rules) > 40
    for rule in rules:
        assert 20 <= len(rule["message"]) <= 200, rule
        assert "\n" not in rule["message"]


def _rules(schema: dict[str, Any]) -> list[dict[str, str]]:
    inside = [*schema.get("properties", {}).values(), *([schema["items"]] if "items" in schema else [])]
    return [*schema.get(RULES_KEY, []), *(rule for child in inside for rule in _rules(child))]


def test_the_yaml_is_the_same_every_time_and_has_no_anchors() -> None:
    for kind in KINDS:
        text = to_yaml(kind.to_manifest())
        assert text == to_yaml(kind.to_manifest())
        assert "&id" not in text


def test_the_chart_keeps_the_definition_when_it_is_uninstalled() -> None:
    for kind in KINDS:
        assert kept_by_helm(kind)["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}
        assert kept_by_helm(kind)["spec"] == kind.to_manifest()["spec"]


def test_columns_read_conditions_by_type_never_by_position() -> None:
    paths = [column.json_path for column in FINETUNEJOB.columns]
    assert [column.name for column in FINETUNEJOB.columns if not column.wide] == [
        "Ready", "Reason", "Stage", "Tuner", "Step", "Loss", "ETA", "Age",
    ]  # fmt: skip
    assert not any("[-1" in path for path in paths)
