"""What labels say, judged by the API server: in the vocabulary, never lowered, and no more than the namespace is cleared for.

The same questions as `finetune_trainer.contract.governance.checks.classified` asks, with the same sentences as answers; a test on generated
objects holds the two together. What needs more than the object and its namespace is left to `decide`.
"""

from finetune_operator.manifests.admission.cel import listed, quoted, text, texts, together, told, when
from finetune_operator.manifests.admission.policy import PLACES, REGIMES, Variables
from finetune_trainer.contract.governance import RuleId
from finetune_trainer.contract.governance import vocabulary as words
from finetune_trainer.contract.governance.vocabulary import Level, Regime

LEVEL, RESIDENCY = text(words.LABEL_LEVEL), text(words.LABEL_RESIDENCY)
REGIME, CLEARANCE = text(words.REGIME_LABELS), text(words.CLEARANCE_LABELS)
HIGHEST = len(Level) - 1
MUST_BE_YES = f'must be "{words.YES}"'
MUST_BE_A_LEVEL = f"must be one of {', '.join(map(str, Level))}"
RANK_CONFIDENTIAL = list(Level).index(Level.CONFIDENTIAL)

VOCABULARY: Variables = {
    "levels": texts(Level),
    "regimes": f"{texts(sorted(Regime))} + {REGIMES}",
    "places": f"[] + {PLACES}",
}
LABELS: Variables = {
    "labels": "object.metadata.?labels.orValue({})",
    "labelsBefore": "request.operation == 'CREATE' ? {} : oldObject.metadata.?labels.orValue({})",
}
NAMESPACE: Variables = {
    "namespaceLabels": "namespaceObject.metadata.?labels.orValue({})",
    "governed": f"variables.namespaceLabels[?{text(words.LABEL_GOVERNED)}].orValue('') == {text(words.YES)}",
}


def rank(labels: str, key: str) -> str:
    """The place of a label's level in the order of levels: that of nothing is the lowest, that of no word the highest."""
    return f"(!({key} in {labels}) ? 0 : !({labels}[{key}] in variables.levels) ? {HIGHEST} : variables.levels.indexOf({labels}[{key}]))"


LEVEL_UNCLEARED = (
    "(variables.clearanceRank >= variables.rank ? [] : ['level ' + variables.levels[variables.rank] + "
    "(variables.clearanceRank < 0 ? ' (its clearance level is no level)' : "
    "' (cleared to ' + variables.levels[variables.clearanceRank] + ')')])"
)
CLASSIFICATION: Variables = {
    "declaredRank": rank("variables.labels", LEVEL),
    "floorRank": rank("variables.namespaceLabels", LEVEL),
    "dataRank": "([0] + variables.records.map(d, variables.levels.indexOf(d.level))).max()",
    "rank": "[variables.declaredRank, variables.floorRank, variables.dataRank].max()",
    "present": (
        f"variables.regimes.filter(r, {REGIME} + r in variables.labels || {REGIME} + r in variables.namespaceLabels || "
        "variables.records.exists(d, r in d.regimes))"
    ),
    "confined": (
        f"variables.places.filter(p, variables.labels[?{RESIDENCY}].orValue('') == p || "
        f"variables.namespaceLabels[?{RESIDENCY}].orValue('') == p || variables.records.exists(d, d.residency == p))"
    ),
    "clearanceRank": f"variables.levels.indexOf(variables.namespaceLabels[?{text(words.LABEL_CLEARANCE_LEVEL)}].orValue({text('public')}))",
    "uncleared": together(
        (
            LEVEL_UNCLEARED,
            (
                f"variables.present.filter(r, variables.namespaceLabels[?{CLEARANCE} + r].orValue('') != {text(words.YES)})"
                ".map(r, 'regime ' + r)"
            ),
        )
    ),
}
"""Of the object, its namespace and its data together: the highest level, all regimes, the places where it must lie, and what of them the
namespace is not cleared for. ``records`` are the registered data it uses; places are in order."""


def words_only(labels: str, *, of_namespace: bool = False) -> list[str]:
    """Findings for labels that are no words of the vocabulary; ``of_namespace``: of the namespace that the object is in."""
    names = f"{labels}.filter(k, k.startsWith({REGIME}) && "
    known = f"k.substring({len(words.REGIME_LABELS)}) in variables.regimes"
    return [
        when(
            f"{LEVEL} in {labels} && !({labels}[{LEVEL}] in variables.levels)",
            invalid(LEVEL, MUST_BE_A_LEVEL, of_namespace),
        ),
        when(
            f"{RESIDENCY} in {labels} && !({labels}[{RESIDENCY}] in [{text(words.ANY)}] + variables.places)",
            invalid(RESIDENCY, f"must be {words.ANY} or a place that this site knows", of_namespace),
        ),
        f"{names}!({known})).map(k, {invalid('k', 'names no regime that this site knows', of_namespace)})",
        f"{names}{known} && {labels}[k] != {text(words.YES)}).map(k, {invalid('k', MUST_BE_YES, of_namespace)})",
    ]


def required_here() -> list[str]:
    """Findings for what is missing in a governed namespace."""
    return [when(f"variables.governed && !({key} in variables.labels)", invalid(key, "is missing")) for key in (LEVEL, RESIDENCY)]


def namespace_words() -> list[str]:
    """Findings for the labels of the namespace itself, which may be older than this policy."""
    governed = text(words.LABEL_GOVERNED)
    return [
        *words_only("variables.namespaceLabels", of_namespace=True),
        when(
            f"variables.namespaceLabels[?{governed}].orValue({text(words.YES)}) != {text(words.YES)}",
            invalid(governed, f"{MUST_BE_YES} or absent", of_namespace=True),
        ),
    ]


def lowered() -> list[str]:
    """Findings for a label that says less than before."""
    level_now = f"({LEVEL} in variables.labels ? variables.levels.indexOf(variables.labels[{LEVEL}]) : -1)"
    level_told = f"({LEVEL} in variables.labels ? '\\'' + variables.labels[{LEVEL}] + '\\'' : 'gone')"
    rule = RuleId.CLASSIFICATION_DOWNGRADE
    was_place = f"variables.labelsBefore[?{RESIDENCY}].orValue({text(words.ANY)})"
    return [
        when(
            f"{LEVEL} in variables.labelsBefore && {level_now} < variables.levels.indexOf(variables.labelsBefore[{LEVEL}])",
            told(rule, _at(LEVEL), f"'was \\'' + variables.labelsBefore[{LEVEL}] + '\\' and is ' + {level_told}"),
        ),
        (
            f"variables.labelsBefore.filter(k, k.startsWith({REGIME}) && !(k in variables.labels))"
            f".map(k, {told(rule, _at('k'), quoted('k', before='label ', after=' is gone'))})"
        ),
        when(
            f"{was_place} != {text(words.ANY)} && (!({RESIDENCY} in variables.labels) || "
            f"variables.labels[{RESIDENCY}] != variables.labelsBefore[{RESIDENCY}])",
            told(rule, _at(RESIDENCY), quoted(f"variables.labelsBefore[{RESIDENCY}]", before="was ", after=" and no longer is")),
        ),
    ]


def over_clearance(rule: RuleId, field: str, holder: str) -> str:
    """A finding for what the namespace is not cleared for; ``holder`` is the word before its name."""
    reason = f"{quoted('namespaceObject.metadata.name', before=holder, after=' is not cleared for ')} + variables.uncleared.join(', ')"
    return when("variables.uncleared.size() > 0", told(rule, text(field), reason))


def in_two_places() -> str:
    """A finding for an object whose parts must lie in different places."""
    reason = f"'the parts must lie in ' + {listed('variables.confined')} + ' at once'"
    return when("variables.confined.size() > 1", told(RuleId.RESIDENCY_VIOLATION, text("residency"), reason))


def invalid(key: str, why: str, of_namespace: bool = False) -> str:
    """A finding for the label with this key, which is CEL."""
    field, of = (text("namespace"), " of the namespace") if of_namespace else (_at(key), "")
    return told(RuleId.LABEL_INVALID, field, quoted(key, before="label ", after=f"{of} {why}"))


def _at(key: str) -> str:
    return f"'metadata.labels[' + {key} + ']'"
