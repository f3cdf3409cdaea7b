"""The policies for the kinds that users write: one for each, which tells everything that is wrong with an object at once."""

from collections.abc import Iterable

from finetune_operator.api.base import API_VERSION, GROUP, VERSION
from finetune_operator.api.crd import ADAPTERDEPLOYMENT, FINETUNEJOB
from finetune_operator.api.governance import current
from finetune_operator.api.spec import FineTuneJobSpec
from finetune_operator.manifests.admission import classified, demanded
from finetune_operator.manifests.admission.cel import differs, quoted, shown, text, together, told, when
from finetune_operator.manifests.admission.policy import AdmissionPolicy, Params, Requests, Variables
from finetune_trainer.contract.governance import RuleId
from finetune_trainer.contract.governance.checks import place
from finetune_trainer.contract.governance.enclosure import EnclosureRuleId
from finetune_trainer.contract.governance.vocabulary import ANNOTATION_SUBMITTED_BY, PINNED_IMAGE

SUBMITTER = f"metadata.?annotations[?{text(ANNOTATION_SUBMITTED_BY)}]"
HOLDING = frozenset({"suspend", "run_policy"})
"""Parts of a job's spec that hold or end a run and change nothing of what it does: for whoever may write jobs."""

CREATED_OR_CHANGED = ("CREATE", "UPDATE")
BEFORE: Variables = {**classified.VOCABULARY, **classified.LABELS, **classified.NAMESPACE, **demanded.FACTS}
AFTER: Variables = {**classified.CLASSIFICATION, **demanded.POLICIES, **demanded.DEMANDING}
FACTS = Params(API_VERSION, current.KIND, current.CURRENT)
_REFERENCE = "object.spec.dataset.?ref.?name.orValue('')"
_LABELS_CHANGED = differs("metadata.?labels")
_WHAT_IT_DOES = " || ".join(
    differs(f"spec.?{field.alias or name}") for name, field in FineTuneJobSpec.model_fields.items() if name not in HOLDING
)
"""Whether a job's spec was changed in what is judged: whoever holds or ends a run is asked nothing."""
_WORDS = together((*classified.required_here(), *classified.words_only("variables.labels"), *classified.namespace_words()))


def finetunejobs() -> AdmissionPolicy:
    sources = (
        demanded.referred("spec.dataset.ref", _REFERENCE),
        demanded.source("spec.dataset.inline", "spec.dataset.?inline"),
        demanded.source("spec.dataset.validation", "spec.dataset.?validation"),
        demanded.source("spec.evaluation.dataset", "spec.?evaluation.?dataset"),
    )
    told_in_order = {
        "labelInvalid": _WORDS,
        "lowered": together(classified.lowered()),
        "declaredTooLow": demanded.declared_too_low(),
        "missing": demanded.missing("spec.dataset.ref", _REFERENCE),
        "unregistered": demanded.unregistered(),
        "withdrawn": demanded.withdrawn(),
        "namespaceNotCleared": classified.over_clearance(RuleId.NAMESPACE_NOT_CLEARED, "namespace", ""),
        "noPolicy": demanded.no_policy(),
        "residencyViolation": together((classified.in_two_places(), demanded.outside_zones(), demanded.from_elsewhere())),
        "notPinned": demanded.unpinned(
            "(variables.sources.filter(s, s.digest == '').map(s, s.field) + (has(object.spec.baseModel.digest) ? [] : ['spec.baseModel']))"
        ),
        "externalTracker": demanded.elsewhere(
            RuleId.EXTERNAL_TRACKER, place.TRACKER, "spec.?tracking.?mlflow.?uri", "tracker", "trackerHosts"
        ),
        "externalJudge": demanded.elsewhere(RuleId.EXTERNAL_JUDGE, place.JUDGE, "spec.?evaluation.?judge.?endpoint", "judge", "judgeHosts"),
        "submitter": _submitter(),
        "editor": _editor(),
    }
    return AdmissionPolicy(
        name=FINETUNEJOB.plural,
        message="the job is refused by the rules of its governed namespace: labels, clearance, data, policies, digests, hosts or submitter",
        requests=(Requests(GROUP, VERSION, (FINETUNEJOB.plural,), CREATED_OR_CHANGED),),
        variables={**BEFORE, "sources": together(sources), **demanded.RECORDS, **AFTER, **told_in_order, "findings": _all(told_in_order)},
        when={
            "what-is-judged-has-changed": (
                f"request.operation == 'CREATE' || {_LABELS_CHANGED} || {differs(SUBMITTER)} || {_living(_WHAT_IT_DOES)}"
            )
        },
        params=FACTS,
    )


def adapterdeployments() -> AdmissionPolicy:
    image = "object.spec.server.?managed.?image"
    pinned = text(f"^{PINNED_IMAGE.pattern}$")
    told_in_order = {
        "labelInvalid": _WORDS,
        "lowered": together(classified.lowered()),
        "noPolicy": demanded.no_policy(),
        "residencyViolation": together((classified.in_two_places(), demanded.outside_zones())),
        "notPinned": together(
            (
                demanded.unpinned("(has(object.spec.baseModel.digest) ? [] : ['spec.baseModel'])"),
                when(
                    f"variables.demanding.size() > 0 && {image}.hasValue() && !{image}.value().matches({pinned})",
                    told(
                        RuleId.NOT_PINNED,
                        text("spec.server.managed.image"),
                        f"{shown(f'{image}.value()')} + ' is not named by digest' + {demanded.BY_THEM}",
                    ),
                ),
            )
        ),
        "adapterNotCleared": classified.over_clearance(RuleId.ADAPTER_NOT_CLEARED, "spec.adapter", "namespace "),
    }
    return AdmissionPolicy(
        name=ADAPTERDEPLOYMENT.plural,
        message="the deployment is refused by the rules of its governed namespace: labels, clearance, policies or digests",
        requests=(Requests(GROUP, VERSION, (ADAPTERDEPLOYMENT.plural,), CREATED_OR_CHANGED),),
        variables={**BEFORE, **demanded.NO_DATA, **AFTER, **told_in_order, "findings": _all(told_in_order)},
        when={"what-is-judged-has-changed": f"request.operation == 'CREATE' || {_LABELS_CHANGED} || {_living(differs('?spec'))}"},
        params=FACTS,
    )


def _all(findings: Iterable[str]) -> str:
    return together(f"variables.{name}" for name in findings)


def _living(changed: str) -> str:
    """Whoever is deleted must lose its finalizer whatever its namespace has become, and starts nothing any more."""
    return f"!has(object.metadata.deletionTimestamp) && ({changed})"


def _submitter() -> str:
    rule, field = EnclosureRuleId.SUBMITTER_MISMATCH, text(f"metadata.annotations[{ANNOTATION_SUBMITTED_BY}]")
    shown = "(request.userInfo.username.matches('^[!-~]{1,128}$') ? request.userInfo.username : 'the name of who asks')"
    return together(
        (
            when(
                f"request.operation == 'CREATE' && object.{SUBMITTER}.orValue('') != request.userInfo.username",
                told(rule, field, quoted(shown, before="must be ")),
            ),
            when(f"request.operation == 'UPDATE' && {differs(SUBMITTER)}", told(rule, field, text("must stay as it was"))),
        )
    )


def _editor() -> str:
    """Objects that are older than the policy have no submitter, and approvals of them never count."""
    known = f"oldObject.{SUBMITTER}.hasValue() && oldObject.{SUBMITTER}.value() != request.userInfo.username"
    reason = quoted(f"oldObject.{SUBMITTER}.value()", before="only ", after=" may change what the job does")
    return when(
        f"request.operation == 'UPDATE' && {known} && ({_WHAT_IT_DOES})", told(EnclosureRuleId.SPEC_EDITED_BY_ANOTHER, text("spec"), reason)
    )
