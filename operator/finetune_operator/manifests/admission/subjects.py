"""The policies for the kinds that users write: one for each, which tells everything that is wrong with an object at once."""

from finetune_operator.api.base import GROUP, VERSION
from finetune_operator.api.crd import ADAPTERDEPLOYMENT, FINETUNEJOB
from finetune_operator.api.spec import FineTuneJobSpec
from finetune_operator.manifests.admission import classified
from finetune_operator.manifests.admission.cel import differs, quoted, text, together, told, when
from finetune_operator.manifests.admission.policy import AdmissionPolicy, Requests, Variables
from finetune_trainer.contract.governance import RuleId
from finetune_trainer.contract.governance.enclosure import EnclosureRuleId
from finetune_trainer.contract.governance.vocabulary import ANNOTATION_SUBMITTED_BY, PINNED_IMAGE

SUBMITTER = f"metadata.?annotations[?{text(ANNOTATION_SUBMITTED_BY)}]"
HOLDING = frozenset({"suspend", "run_policy"})
"""Parts of a job's spec that hold or end a run and change nothing of what it does: for whoever may write jobs."""

CREATED_OR_CHANGED = ("CREATE", "UPDATE")
COMMON: Variables = {**classified.VOCABULARY, **classified.LABELS, **classified.NAMESPACE, **classified.CLASSIFICATION}
_LABELS_CHANGED = differs("metadata.?labels")
_SPEC_OF_LIVING = f"!has(object.metadata.deletionTimestamp) && {differs('?spec')}"
"""Whoever is deleted must lose its finalizer whatever its namespace has become, and starts nothing any more."""
_WORDS = together((*classified.required_here(), *classified.words_only("variables.labels"), *classified.namespace_words()))


def finetunejobs() -> AdmissionPolicy:
    variables = {
        **COMMON,
        "labelInvalid": _WORDS,
        "classificationDowngrade": together(classified.lowered()),
        "namespaceNotCleared": classified.over_clearance(RuleId.NAMESPACE_NOT_CLEARED, "namespace", ""),
        "residencyViolation": classified.in_two_places(),
        "notPinned": together(
            (
                classified.unpinned(
                    "spec.dataset.inline", "object.spec.dataset.?inline.hasValue() && !object.spec.dataset.?inline.?digest.hasValue()"
                ),
                classified.unpinned("spec.dataset.validation", _undigested("dataset.?validation")),
                classified.unpinned("spec.evaluation.dataset", _undigested("?evaluation.?dataset")),
                classified.unpinned("spec.baseModel", "!has(object.spec.baseModel.digest)"),
            )
        ),
        "submitter": _submitter(),
        "editor": _editor(),
    }
    told_in_order = (
        "labelInvalid",
        "classificationDowngrade",
        "namespaceNotCleared",
        "residencyViolation",
        "notPinned",
        "submitter",
        "editor",
    )
    return AdmissionPolicy(
        name=FINETUNEJOB.plural,
        message="the job is refused by the rules of its governed namespace: labels, clearance, digests or submitter",
        requests=(Requests(GROUP, VERSION, (FINETUNEJOB.plural,), CREATED_OR_CHANGED),),
        variables={**variables, "findings": together(f"variables.{name}" for name in told_in_order)},
        when={
            "what-is-judged-has-changed": f"request.operation == 'CREATE' || {_LABELS_CHANGED} || {differs(SUBMITTER)} || {_SPEC_OF_LIVING}"
        },
    )


def _undigested(source: str) -> str:
    """Whether rows of their own are named there, and no digest of them."""
    return f"object.spec.{source}.?uri.hasValue() && !object.spec.{source}.?digest.hasValue()"


def adapterdeployments() -> AdmissionPolicy:
    image = "object.spec.server.?managed.?image"
    pinned = text(f"^{PINNED_IMAGE.pattern}$")
    shown = f"({image}.value().matches('^[ -~]*$') ? '\\'' + {image}.value() + '\\'' : 'what holds more than plain characters')"
    not_by_digest = told(RuleId.NOT_PINNED, text("spec.server.managed.image"), f"{shown} + ' is not named by digest'")
    variables = {
        **COMMON,
        "labelInvalid": _WORDS,
        "classificationDowngrade": together(classified.lowered()),
        "residencyViolation": classified.in_two_places(),
        "notPinned": together(
            (
                classified.unpinned("spec.baseModel", "!has(object.spec.baseModel.digest)"),
                when(
                    f"variables.rank >= {classified.RANK_CONFIDENTIAL} && {image}.hasValue() && !{image}.value().matches({pinned})",
                    not_by_digest,
                ),
            )
        ),
        "adapterNotCleared": classified.over_clearance(RuleId.ADAPTER_NOT_CLEARED, "spec.adapter", "namespace "),
    }
    told_in_order = ("labelInvalid", "classificationDowngrade", "residencyViolation", "notPinned", "adapterNotCleared")
    return AdmissionPolicy(
        name=ADAPTERDEPLOYMENT.plural,
        message="the deployment is refused by the rules of its governed namespace: labels, clearance or digests",
        requests=(Requests(GROUP, VERSION, (ADAPTERDEPLOYMENT.plural,), CREATED_OR_CHANGED),),
        variables={**variables, "findings": together(f"variables.{name}" for name in told_in_order)},
        when={"what-is-judged-has-changed": f"request.operation == 'CREATE' || {_LABELS_CHANGED} || {_SPEC_OF_LIVING}"},
    )


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
    names = [field.alias or name for name, field in FineTuneJobSpec.model_fields.items() if name not in HOLDING]
    changed = " || ".join(differs(f"spec.?{name}") for name in names)
    known = f"oldObject.{SUBMITTER}.hasValue() && oldObject.{SUBMITTER}.value() != request.userInfo.username"
    reason = quoted(f"oldObject.{SUBMITTER}.value()", before="only ", after=" may change what the job does")
    return when(
        f"request.operation == 'UPDATE' && {known} && ({changed})", told(EnclosureRuleId.SPEC_EDITED_BY_ANOTHER, text("spec"), reason)
    )
