"""What a run uses: everything by digest, a licence that is allowed, weights that are data and not a program."""

from collections.abc import Iterator

from finetune_trainer.contract.governance.case import Case
from finetune_trainer.contract.governance.facts import Licence
from finetune_trainer.contract.governance.findings import Finding, find, listed, shown
from finetune_trainer.contract.governance.licences import OBLIGATIONS, Obligation
from finetune_trainer.contract.governance.policy import Policy, allowed, demanded
from finetune_trainer.contract.governance.rules import RuleId
from finetune_trainer.contract.governance.vocabulary import DIGEST, EVERYTHING, PINNED_IMAGE, WeightsFormat


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
    model = case.facts.base_model
    if model is None:
        return
    field = f"{model.field}.licence"
    if not model.licences:
        if model.licences is not None or case.due(RuleId.LICENCE_UNKNOWN):
            open_to_all = EVERYTHING in allowed(policy.licences.allow, case.level)
            if not open_to_all:
                yield find(RuleId.LICENCE_UNKNOWN, field, "no licence is known", policy)
        return
    for licence in model.licences:
        yield from _licence(case, policy, field, licence)


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
        ]
        yield find(RuleId.LICENCE_OBLIGATION, field, f"{obligation.licence} asks for {listed(asks)} and for its text among the files")


def obligations(case: Case) -> tuple[Obligation, ...]:
    """What travels with the adapter, each once, by licence key."""
    found = {obligation.licence: obligation for _, obligation in _obligations(case)}
    return tuple(found[key] for key in sorted(found))


def _obligations(case: Case) -> Iterator[tuple[str, Obligation]]:
    facts = case.facts
    keys = [(facts.base_model.field, licence.key) for licence in (facts.base_model.licences or ())] if facts.base_model else []
    keys += [(facts.adapter.field, key) for key in facts.adapter.licences] if facts.adapter else []
    for field, key in keys:
        if key in OBLIGATIONS:
            yield field, OBLIGATIONS[key]
    for dataset in facts.datasets:
        for generator in dataset.generators:
            obligation = OBLIGATIONS.get(generator.licence)
            if obligation is not None and obligation.reaches_outputs:
                yield dataset.field, obligation


def _licence(case: Case, policy: Policy, field: str, licence: Licence) -> Iterator[Finding]:
    terms = policy.licences
    names = {licence.key, *([licence.category.value] if licence.category else [])}
    allow = allowed(terms.allow, case.level)
    if not names.isdisjoint(terms.deny):
        yield find(RuleId.LICENCE_DENIED, field, f"{shown(licence.key)} is denied", policy)
    elif not names.isdisjoint(terms.conditional):
        yield find(RuleId.LICENCE_CONDITIONAL, field, f"{shown(licence.key)} needs a waiver", policy)
    elif not names.isdisjoint(allow) or EVERYTHING in allow:
        return
    elif licence.category is None:
        yield find(RuleId.LICENCE_UNKNOWN, field, f"{shown(licence.key)} is not in the licence database", policy)
    else:
        yield find(
            RuleId.LICENCE_DENIED, field, f"{shown(licence.key)} ({licence.category}) is not among those allowed: {listed(allow)}", policy
        )
