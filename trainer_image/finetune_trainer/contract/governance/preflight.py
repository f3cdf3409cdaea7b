"""The decision once more, in the pod: the facts that were sealed, but for those that the pod can see itself, at the pod's own time.

A pod has no way to the API server. What it cannot see it takes from its order: labels, scan, counts, gates and approvals are as the
operator knew them. What it sees takes their place, also where that is nothing.
"""

from dataclasses import dataclass
from datetime import datetime

from finetune_trainer.contract.governance.case import Case
from finetune_trainer.contract.governance.containment import contain
from finetune_trainer.contract.governance.decide import decide
from finetune_trainer.contract.governance.facts import DatasetFacts, Facts, ModelFacts, Probe, ReadDigest
from finetune_trainer.contract.governance.findings import Decision
from finetune_trainer.contract.governance.order import Order
from finetune_trainer.contract.runspec import DataSource, RunSpec

_DATA_FIELDS = ("spec.dataset.inline", "spec.dataset.ref")
_VALIDATION_FIELD, _ITEMS_FIELD = "spec.dataset.validation", "spec.evaluation.dataset"


@dataclass(frozen=True)
class Seen:
    """``run`` is the document that the steps follow, ``node`` the name of the node; ``egress`` is None where no probe was asked for."""

    run: RunSpec
    node: str
    egress: Probe | None
    api_token: bool


def decide_again(order: Order, seen: Seen, now: datetime) -> Decision:
    """The decision about what is seen. Anything that makes it another decision than the sealed one is a finding of its own."""
    facts = _seen(order, seen, now)
    found = Case.of(facts, order.policies, now).digest
    reads = (
        ReadDigest(field="order.decision", sealed=order.decision, read=found),
        ReadDigest(field="order.runKey", sealed=order.run_key, read=seen.run.run.key),
    )
    return decide(facts.model_copy(update={"reads": reads}), order.policies, now)


def _seen(order: Order, seen: Seen, now: datetime) -> Facts:
    run, facts = seen.run.run, order.facts
    sealed = facts.model_copy(
        update={
            "namespace": facts.namespace.model_copy(update={"name": run.job_namespace}),
            "subject": facts.subject.model_copy(update={"name": run.job_name, "uid": run.job_uid}),
            "datasets": _datasets(facts, seen.run),
            "base_model": _base_model(facts, seen.run),
            "trackers": (seen.run.tracking.uri,) if seen.run.tracking is not None else (),
            "judges": (seen.run.evaluation.judge.endpoint,) if seen.run.evaluation.judge is not None else (),
            "nodes": None,
            "bound_node": order.labels_of(seen.node),
            "api_token": seen.api_token,
        }
    )
    unproven = Probe.INCONCLUSIVE if contain(sealed, order.policies, now).closed else None
    return sealed.model_copy(update={"egress": seen.egress if seen.egress is not None else unproven})


def _datasets(facts: Facts, run: RunSpec) -> tuple[DatasetFacts, ...]:
    """Each source that the run will read, with what is sealed about it; about one that nobody decided upon, nothing."""
    sealed = {"dataset" if each.field in _DATA_FIELDS else each.field: each for each in facts.datasets}
    sources = {"dataset": run.dataset, _VALIDATION_FIELD: run.validation.source, _ITEMS_FIELD: run.evaluation.source}
    return tuple(_as_read(sealed.get(name), source) for name, source in sources.items() if source is not None)


def _as_read(sealed: DatasetFacts | None, source: DataSource) -> DatasetFacts:
    known = sealed or DatasetFacts(uri=source.uri)
    return known.model_copy(update={"uri": source.uri, "digest": source.digest})


def _base_model(facts: Facts, run: RunSpec) -> ModelFacts:
    known = facts.base_model or ModelFacts(uri=run.base_model.uri)
    return known.model_copy(update={"uri": run.base_model.uri, "digest": run.base_model.digest})
