"""What a run uses: everything by digest, a licence that is allowed, weights that are data and not a program."""

from collections.abc import Iterator

from finetune_trainer.contract.governance.case import Case
from finetune_trainer.contract.governance.facts import ModelFacts
from finetune_trainer.contract.governance.findings import Finding, find, listed, shown
from finetune_trainer.contract.governance.licences import OBLIGATIONS, Obligation
from finetune_trainer.contract.governance.policy import Policy, allowed, demanded
from finetune_trainer.contract.governance.rules import RuleId, Severity
from finetune_trainer.contract.governance.vocabulary import DIGEST, EVERYTHING, PINNED_IMAGE
from finetune_trainer.contract.model import Licence, WeightsFormat


def everything_is_pinned(case: Case, policy: Policy) -> Iterator[Finding]:
    if not demanded(policy.require_digests, case.level):
        return
    facts = case.facts
    named = [(dataset.field, dataset.digest) for dataset in facts.datasets]
    named += [(source.field, source.digest) for source in (facts.base_model, facts.adapter) if source is not None]
    for field, digest in named:
        if digest is None or DIGEST.fullmatch(digest) is None:
            yield find(RuleId.NOT_PINNED, f"{field}.digest", "is absent" if digest is None else f"{shown(digest)} is no digest", policy)
    for position, image in enumerate(facts.images):
        if PINNED_IMAGE.fullmatch(image) is None:
            yield find(RuleId.NOT_PINNED, f"images[{position}]", f"{shown(image)} is not named by digest", policy)


def licences_are_allowed(case: Case, policy: Policy) -> Iterator[Finding]:
    """By the files, unless the policy says itself what this very model stands under. What the job claims can only be a reason to refuse."""
    model = case.facts.base_model
    if model is None:
        return
    field = f"{model.field}.licence"
    stated = _stated(policy, model)
    licences = stated or model.licences
    if licences:
        for licence in licences:
            yield from _licence(case, policy, field, licence)
    elif (licences is not None or case.due(RuleId.LICENCE_UNKNOWN)) and EVERYTHING not in allowed(policy.licences.allow, case.level):
        yield find(RuleId.LICENCE_UNKNOWN, field, "no licence is known", policy)
    if model.claimed is not None and model.claimed not in (licences or ()):
        yield from _refused(policy, field, model.claimed)


def weights_are_data(case: Case) -> Iterator[Finding]:
    model = case.facts.base_model
    if model is None:
        return
    unsafe = sorted(format_.value for format_ in set(model.formats or ()) if format_ is not WeightsFormat.SAFETENSORS)
    found = [*(["remote code"] if model.remote_code else []), *(f"weights as {format_}" for format_ in unsafe)]
    if found:
        yield find(RuleId.UNSAFE_MODEL_FORMAT, model.field, f"it has {listed(found)}")


def obligations_are_told(case: Case) -> Iterator[Finding]:
    for field, obligation in _obligations(case):
        asks = [
            *([f"a name that begins with {obligation.name_prefix}"] if obligation.name_prefix else []),
            *([f'the notice "{obligation.notice}"'] if obligation.notice else []),
            *(["its attribution in a file NOTICE"] if obligation.attribution else []),
            *(["its text among the files"] if obligation.licence_text else []),
        ]
        yield find(RuleId.LICENCE_OBLIGATION, field, f"{obligation.licence} asks for {listed(asks)}")


def served_name_is_as_asked(case: Case) -> Iterator[Finding]:
    """Letters and digits alone are compared, in either case: a model name has no spaces and small letters."""
    served = case.facts.served_as
    for field, obligation in _obligations(case):
        prefix = obligation.name_prefix
        if served is not None and prefix and not _letters(served).startswith(_letters(prefix)):
            reason = f"{obligation.licence} asks for a name that begins with {prefix}, and it is served as {shown(served)}"
            yield find(RuleId.LICENCE_OBLIGATION, field, reason, severity=Severity.DENY)


def obligations(case: Case) -> tuple[Obligation, ...]:
    """What travels with the adapter, each once, by licence key."""
    found = {obligation.licence: obligation for _, obligation in _obligations(case)}
    return tuple(found[key] for key in sorted(found))


def _obligations(case: Case) -> Iterator[tuple[str, Obligation]]:
    facts = case.facts
    model = facts.base_model
    keys = [(model.field, licence.key) for licence in (model.licences or ())] if model else []
    if model is not None:
        keys += [(model.field, licence.key) for policy in case.policies for licence in _stated(policy, model)]
    keys += [(facts.adapter.field, key) for key in facts.adapter.licences] if facts.adapter else []
    for field, key in dict.fromkeys(keys):
        if key in OBLIGATIONS:
            yield field, OBLIGATIONS[key]
    for dataset in facts.datasets:
        for generator in dataset.generators:
            obligation = OBLIGATIONS.get(generator.licence)
            if obligation is not None and obligation.reaches_outputs:
                yield dataset.field, obligation


def _stated(policy: Policy, model: ModelFacts) -> tuple[Licence, ...]:
    """What the policy says itself about this model; a digest, where it names one, must be that of the files, or the declared one."""
    digests = {None, model.digest, model.found_digest}
    return tuple(
        Licence(key=entry.licence, category=entry.category)
        for entry in policy.licences.stated
        if entry.uri == model.uri and entry.digest in digests
    )


def _licence(case: Case, policy: Policy, field: str, licence: Licence) -> Iterator[Finding]:
    names = _names(licence)
    allow = allowed(policy.licences.allow, case.level)
    if refusals := list(_refused(policy, field, licence)):
        yield from refusals
    elif not names.isdisjoint(allow) or EVERYTHING in allow:
        return
    elif licence.category is None:
        yield find(RuleId.LICENCE_UNKNOWN, field, f"{shown(licence.key)} is not in the licence database", policy)
    else:
        reason = f"{shown(licence.key)} ({licence.category}) is not among those allowed: {listed(allow)}"
        yield find(RuleId.LICENCE_DENIED, field, reason, policy)


def _refused(policy: Policy, field: str, licence: Licence) -> Iterator[Finding]:
    names = _names(licence)
    if not names.isdisjoint(policy.licences.deny):
        yield find(RuleId.LICENCE_DENIED, field, f"{shown(licence.key)} is denied", policy)
    elif not names.isdisjoint(policy.licences.conditional):
        yield find(RuleId.LICENCE_CONDITIONAL, field, f"{shown(licence.key)} needs a waiver", policy)


def _letters(name: str) -> str:
    return "".join(character for character in name.casefold() if character.isalnum())


def _names(licence: Licence) -> set[str]:
    """By what a policy can name it."""
    return {licence.key, *([licence.category.value] if licence.category else [])}
