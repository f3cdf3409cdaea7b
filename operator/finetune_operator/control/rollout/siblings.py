"""What every AdapterDeployment has to know of the others: names, ages, servers, and whose artifacts they follow."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from pydantic import ValidationError

from finetune_operator.api.governance.job import ClassificationStatus
from finetune_operator.cluster.cache import Key
from finetune_operator.cluster.kube import Manifest
from finetune_operator.domain import reading
from finetune_operator.domain.rollout.observed import Sibling
from finetune_operator.manifests.names import label_value

EPOCH = datetime.fromtimestamp(0, UTC)


@dataclass(frozen=True)
class Summary:
    """``versions`` are those it wants loaded; ``labels`` those of the pods of its own server, or nothing."""

    uid: str
    model_name: str
    created_at: datetime
    versions: tuple[str, ...]
    answering: int
    labels: tuple[tuple[str, str], ...]
    job: str
    classification: ClassificationStatus | None = None

    def sibling(self, name: str, *, shares: bool) -> Sibling:
        wanted = (len(self.versions), self.answering) if shares else (0, 0)
        return Sibling(name, self.uid, self.model_name, self.created_at, *wanted)


class Siblings:
    """By namespace."""

    def __init__(self) -> None:
        self._known: dict[str, dict[str, Summary]] = {}

    def remember(self, key: Key, deployment: Manifest) -> tuple[Key, ...]:
        """The others of the namespace for whom something has changed."""
        summary, known = summary_of(deployment), self._known.setdefault(key.namespace, {})
        if known.get(key.name) == summary:
            return ()
        known[key.name] = summary
        return tuple(other for other in self.keys_of(key.namespace) if other != key)

    def forget(self, key: Key) -> tuple[Key, ...]:
        """Those who are left in the namespace, if it was known."""
        known = self._known.get(key.namespace, {})
        if known.pop(key.name, None) is None:
            return ()
        if not known:
            del self._known[key.namespace]
        return tuple(self.keys_of(key.namespace))

    def of(self, key: Key, sharing: Collection[Key] = ()) -> tuple[Sibling, ...]:
        """All others of the namespace; the versions of those count that are on the same pods (``sharing``)."""
        known = self._known.get(key.namespace, {})
        others = [(name, each) for name, each in sorted(known.items()) if name != key.name] if key.name in known else []
        return tuple(each.sibling(name, shares=Key(key.namespace, name) in sharing) for name, each in others)

    def versions_of_others(self, key: Key) -> frozenset[str]:
        """What all others of the namespace want loaded."""
        known = self._known.get(key.namespace, {})
        return frozenset(version for name, each in known.items() if name != key.name for version in each.versions)

    def classifications(self, namespace: str) -> list[ClassificationStatus | None]:
        """How sensitive it is what each of a namespace serves, by its status."""
        return [each.classification for each in self._known.get(namespace, {}).values()]

    def __len__(self) -> int:
        """Namespaces with at least one."""
        return len(self._known)

    def keys_of(self, namespace: str) -> Iterator[Key]:
        yield from [Key(namespace, name) for name in self._known.get(namespace, {})]

    def following(self, job: Key) -> list[Key]:
        """Whom a changed artifact of a job concerns: its followers, and those who name a digest and want its evaluation."""
        known = self._known.get(job.namespace, {})
        return [Key(job.namespace, name) for name, summary in known.items() if summary.job in ("", job.name)]

    def labelled(self, namespace: str, label: str) -> list[Key]:
        """Those whose name is cut to this label value."""
        return [key for key in self.keys_of(namespace) if label_value(key.name) == label]


def summary_of(deployment: Manifest) -> Summary:
    """Read off an object, however odd it is."""
    metadata, spec = deployment["metadata"], deployment.get("spec")
    labels = reading.at(spec, "server", "external", "matchLabels")
    wanted = reading.objects(deployment.get("status"), "desired", "versions")
    return Summary(
        uid=str(metadata.get("uid") or ""),
        model_name=reading.text(spec, "modelName"),
        created_at=reading.moment(metadata, "creationTimestamp") or EPOCH,
        versions=tuple(reading.text(version, "name") for version in wanted),
        answering=sum("keepUntil" not in version for version in wanted),
        labels=tuple(sorted((str(name), str(value)) for name, value in labels.items())) if isinstance(labels, dict) else (),
        job=reading.text(spec, "adapter", "fineTuneJobRef", "name"),
        classification=stored_classification(deployment),
    )


def stored_classification(deployment: Manifest) -> ClassificationStatus | None:
    """What its status says of all that it serves; None where governance has no say."""
    found = reading.at(deployment.get("status"), "governance", "classification")
    try:
        return ClassificationStatus.model_validate(found) if found is not None else None
    except ValidationError:
        return None
