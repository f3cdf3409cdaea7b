"""What governance says of the versions of one AdapterDeployment: each by its digest, and by what jobs, checks and status know of that."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce

from finetune_operator.api.adapterdeployment.spec import AdapterDeploymentSpec
from finetune_operator.api.adapterdeployment.status import AdapterDeploymentStatus, AdapterRecordStatus, CheckedVersion
from finetune_operator.domain.governance.serving import Question, Ruling, ServingView, rule_on, united
from finetune_operator.domain.rollout.observed import RolloutObserved
from finetune_operator.domain.rollout.unread import is_unread
from finetune_operator.manifests.names import Owner


@dataclass(frozen=True)
class Version:
    """A version by what a ruling depends on."""

    digest: str
    uri: str


@dataclass(frozen=True)
class Memory:
    """What status keeps of adapters: those whose files were read, and those that were in use."""

    checked: list[CheckedVersion]
    adapters: list[AdapterRecordStatus]


def memory_of(status: AdapterDeploymentStatus, checked: list[CheckedVersion]) -> Memory:
    """``checked`` is that of the decision in the making."""
    return Memory(checked, status.governance.adapters if status.governance is not None else [])


def ruling_on(
    version: Version,
    owner: Owner,
    spec: AdapterDeploymentSpec,
    observed: RolloutObserved,
    view: ServingView,
    *,
    memory: Memory,
    labels: Mapping[str, str] | None,
) -> Ruling:
    """``labels`` are the object's, where the version is the one that it asks for."""
    question = Question(
        owner=owner,
        spec=spec,
        digest=version.digest,
        adapter=known_of(version.digest, memory, view),
        unread=is_unread(spec, observed, memory.checked, version.uri, version.digest),
        labels=labels,
    )
    return rule_on(view, question)


def known_of(digest: str, memory: Memory, view: ServingView) -> AdapterRecordStatus | None:
    """What anybody knows of an adapter: the jobs of now, the check of its files, and what is remembered of both."""
    said = [view.adapters.get(digest), *(checked.record for checked in memory.checked if checked.digest == digest)]
    found = [each for each in (*said, *(known for known in memory.adapters if known.digest == digest)) if each is not None]
    return reduce(united, found) if found else None
