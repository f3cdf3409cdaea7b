"""The reference pages under docs/reference, written from the models so that they cannot disagree with them."""

from collections.abc import Iterator
from typing import Any

from finetune_operator.api.adapterdeployment import conditions as serving_conditions
from finetune_operator.api.adapterdeployment import reasons as serving_reasons
from finetune_operator.api.base import API_VERSION
from finetune_operator.api.conditions import CONDITION_MEANING, ConditionType
from finetune_operator.api.crd import CrdSpec
from finetune_operator.api.markers import RULES_KEY
from finetune_operator.api.reasons import EXPLANATIONS, STEPS, SUMMARY
from finetune_trainer.contract.governance import RULES, Rule, RuleId
from finetune_trainer.contract.governance.enclosure import ENCLOSURE_RULES

GENERATED = "<!-- Generated from the models by hack/manifests.sh; do not edit. -->\n"
_BOUND_NAMES = {
    "minLength": "length ≥",
    "maxLength": "length ≤",
    "minItems": "items ≥",
    "maxItems": "items ≤",
    "minProperties": "entries ≥",
    "maxProperties": "entries ≤",
}


def fields_page(kind: CrdSpec) -> str:
    """Every field of a kind: type, default, bounds, meaning; then the rules that span fields."""
    schema = kind.to_manifest()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    short_names = ", ".join(f"`{name}`" for name in kind.short_names)
    place = "namespaced" if kind.namespaced else "of the whole cluster"
    lines = [
        GENERATED,
        f"# {kind.kind}\n",
        f"`apiVersion: {API_VERSION}`, `kind: {kind.kind}`, short name {short_names}, {place}.",
        f"{kind.description}\n",
    ]
    if "status" in schema["properties"]:
        lines.append(
            'Decimals are quoted text: `learningRate: "2e-4"`. Unquoted, YAML reads `2e-4` as a number, which the API server refuses.\n'
        )
    for part, title in (("spec", "Spec"), ("status", "Status")):
        if part not in schema["properties"]:
            continue
        lines += [f"## {title}\n", "| Field | Type | Default | Bounds | Meaning |", "|---|---|---|---|---|"]
        lines += [_row(path, field, required) for path, field, required in _fields(schema["properties"][part], part)]
        lines.append("")
    lines += ["## What the API server refuses\n", "| At | Unless | Message |", "|---|---|---|"]
    lines += [f"| `{path or kind.kind}` | `{_cell(rule['rule'])}` | {_cell(rule['message'])} |" for path, rule in _rules(schema, "")]
    lines += ["", "## Columns of `kubectl get`\n", "| Column | From | Meaning |", "|---|---|---|"]
    for column in kind.columns:
        name = f"{column.name} (`-o wide`)" if column.wide else column.name
        lines.append(f"| {name} | `{_cell(column.json_path)}` | {column.description} |")
    return "\n".join(lines) + "\n"


def reasons_page() -> str:
    """Every condition and every reason, with the next action."""
    lines = [
        GENERATED,
        "# Conditions and reasons\n",
        "Conditions carry the generation they speak about, so `kubectl wait --for=condition=Ready` is not satisfied by an older spec.",
        "Alerts and scripts may compare reasons; messages are for people and may change.\n",
        "## Conditions\n",
        "| Condition | Meaning |",
        "|---|---|",
    ]
    lines += [f"| `{type_}` | {CONDITION_MEANING[type_]} |" for type_ in ConditionType]
    lines += [
        "",
        "## Reasons\n",
        f"*Summary* stands for {_list(SUMMARY)}, which carry the same reason; *step* for that of {_list(STEPS)} which is concerned.\n",
        "| Reason | On | Meaning | Next action |",
        "|---|---|---|---|",
    ]
    for reason, explanation in sorted(EXPLANATIONS.items()):
        on = _where(explanation.conditions)
        lines.append(f"| `{reason}` | {on} | {_cell(explanation.meaning)} | {_cell(explanation.next_action)} |")
    return "\n".join(lines) + "\n"


def serving_reasons_page() -> str:
    """The same for ``AdapterDeployment``, whose reasons may stand on several conditions."""
    lines = [
        GENERATED,
        "# Conditions and reasons of an AdapterDeployment\n",
        "Conditions carry the generation they speak about.",
        "Alerts and scripts may compare reasons; messages are for people and may change.\n",
        "## Conditions\n",
        "| Condition | Meaning |",
        "|---|---|",
    ]
    lines += [f"| `{type_}` | {_cell(meaning)} |" for type_, meaning in serving_conditions.CONDITION_MEANING.items()]
    lines += [
        "",
        "## Reasons\n",
        "*Stalls*: `Stalled` is True, and nothing goes on before a person has done something; *resumes*: the same, but what the message",
        "names is looked at again and again, and the rollout goes on by itself as soon as it is there.\n",
        "| Reason | Stalls | Meaning | Next action |",
        "|---|---|---|---|",
    ]
    for reason, explanation in sorted(serving_reasons.EXPLANATIONS.items()):
        stalls = "resumes" if explanation.resumes else "yes" if explanation.stalls else ""
        lines.append(f"| `{reason}` | {stalls} | {_cell(explanation.meaning)} | {_cell(explanation.advice)} |")
    return "\n".join(lines) + "\n"


def governance_rules_page() -> str:
    """Every rule of governance: what it does, when it must have its answer, what it means, and the remedy."""
    lines = [
        GENERATED,
        "# Rules of governance\n",
        "What the decision about a job, or about serving an adapter, can find. `finetune-operator --governance` asks it about FineTuneJobs",
        "at `Accept`, at `Start` and at `Promote`, and about every version of an AdapterDeployment at `Serve`; and again when a policy, a",
        "label, registered data or an approval changes.",
        "What an object and its namespace tell, the API server enforces in governed ones: [admission](../governance/admission.md).\n",
        "*Denied* is refused; *needs approval* waits for a waiver by enough people; *held* waits; a *note* travels along. What a policy",
        "in mode `Audit` finds is told and does none of this. All findings are told at once: what blocks first, then the worst, then in",
        "this order. *Unknown counts from*: the stage from which on a fact that nobody has established is a finding; before it, and where",
        "the column is empty, only what is known is judged. Stages are `Accept`, `Seal`, `Start`, `Promote`, `Serve`.\n",
        "| Rule | Does | Unknown counts from | Meaning | Remedy |",
        "|---|---|---|---|---|",
    ]
    for rule in RuleId:
        explained = RULES[rule]
        since = f"`{explained.since}`" if explained.since else ""
        lines.append(f"| `{rule}` | {_does(explained)} | {since} | {_cell(explained.meaning)} | {_cell(explained.remedy)} |")
    lines += [
        "",
        "## Rules of the API server\n",
        "What depends on who asks, in governed namespaces: judged at admission and nowhere else, and always denied.",
        "See [admission](../governance/admission.md).\n",
        "| Rule | Meaning | Remedy |",
        "|---|---|---|",
    ]
    lines += [f"| `{rule}` | {_cell(explained.meaning)} | {_cell(explained.remedy)} |" for rule, explained in ENCLOSURE_RULES.items()]
    return "\n".join(lines) + "\n"


def _does(rule: Rule) -> str:
    words = {"Note": "note", "Hold": "held", "NeedsApproval": "needs approval", "Deny": "denied"}
    milder = f"; {words[str(rule.otherwise)]} where the policy's `quality.waivable` says so" if rule.otherwise else ""
    return words[str(rule.severity)] + milder


def _where(conditions: tuple[ConditionType, ...]) -> str:
    words = []
    rest = set(conditions)
    for word, group in (("*step*", STEPS), ("*summary*", SUMMARY)):
        if set(group) <= rest:
            words.append(word)
            rest -= set(group)
    return ", ".join([*(f"`{type_}`" for type_ in ConditionType if type_ in rest), *words])


def _list(conditions: tuple[ConditionType, ...]) -> str:
    return ", ".join(f"`{type_}`" for type_ in conditions)


def _fields(schema: dict[str, Any], path: str) -> Iterator[tuple[str, dict[str, Any], bool]]:
    required = schema.get("required", [])
    for name, child in schema.get("properties", {}).items():
        here = f"{path}.{name}"
        yield here, child, name in required
        if child.get("type") == "array":
            yield from _fields(child["items"], f"{here}[]")
        else:
            yield from _fields(child, here)


def _rules(schema: dict[str, Any], path: str) -> Iterator[tuple[str, dict[str, str]]]:
    for rule in schema.get(RULES_KEY, []):
        yield path, rule
    for name, child in schema.get("properties", {}).items():
        yield from _rules(child, f"{path}.{name}" if path else name)
    if "items" in schema:
        yield from _rules(schema["items"], f"{path}[]")


def _row(path: str, field: dict[str, Any], required: bool) -> str:
    default = field.get("default")
    shown = "**required**" if required else "" if default is None or isinstance(default, dict) else f"`{_literal(default)}`"
    return f"| `{path}` | {_type_of(field)} | {shown} | {_cell(_bounds_of(field))} | {_cell(field.get('description', ''))} |"


def _literal(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return "[" + ", ".join(_literal(item) for item in value) + "]"
    return f'"{value}"' if isinstance(value, str) and (not value or value[0].isdigit()) else str(value)


def _type_of(field: dict[str, Any]) -> str:
    if field.get("x-kubernetes-int-or-string"):
        return "integer or text"
    if field["type"] == "array":
        return f"list of {_type_of(field['items'])}"
    if field["type"] == "object" and "additionalProperties" in field:
        return f"map of {_type_of(field['additionalProperties'])}"
    return {"string": "text", "boolean": "true or false"}.get(field["type"], str(field["type"]))


def _bounds_of(field: dict[str, Any]) -> str:
    parts = []
    enum = field.get("enum") or field.get("items", {}).get("enum")
    if enum:
        parts.append(" · ".join(f"`{value}`" for value in enum))
    if "minimum" in field or "maximum" in field:
        parts.append(f"{field.get('minimum', '')}…{field.get('maximum', '')}")
    parts += [f"{words} {field[key]}" for key, words in _BOUND_NAMES.items() if key in field]
    if field.get("x-kubernetes-list-type") == "set":
        parts.append("no duplicates")
    if "pattern" in field:
        parts.append(f"`{field['pattern']}`")
    return ", ".join(parts)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
