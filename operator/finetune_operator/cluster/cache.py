"""What the operator knows of the cluster, in memory: reconciles read here and never list.

Children are kept as trimmed dictionaries with an index by owner. Our own kind is kept as compressed text, because an object at rest is read
a few times a day: 10,000 finished jobs of 7 KB cost 20 MB like that, and some 400 MB as dictionaries.
"""

import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import orjson

from finetune_operator.api.base import LABEL_JOB
from finetune_operator.cluster.kube import Manifest
from finetune_operator.cluster.projections import project_event, project_job, project_pod
from finetune_operator.cluster.resources import FINETUNE_JOBS, JOBS
from finetune_operator.manifests.names import label_value

Name = tuple[str, str]
Project = Callable[[Manifest], Manifest | None]
OnChange = Callable[[Manifest], None]


class Key(NamedTuple):
    """A FineTuneJob's address: the unit of work of the queue."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


def name_of(manifest: Manifest) -> Name:
    metadata = manifest["metadata"]
    return metadata.get("namespace") or "", metadata["name"]


def version_of(manifest: Manifest) -> int:
    """The resource version as a number; 0 where there is none."""
    return _number(manifest["metadata"].get("resourceVersion") or "0")


def _number(resource_version: str) -> int:
    return int(resource_version) if resource_version.isdigit() else 0


def controller_of(manifest: Manifest) -> dict[str, Any] | None:
    """The owner reference with ``controller: true``."""
    for reference in manifest["metadata"].get("ownerReferences") or []:
        if reference.get("controller"):
            return dict(reference)
    return None


class Store:
    """One kind of child. ``project`` trims an object before it is kept, and may refuse it; ``on_change`` hears of what changes in that.

    ``quiet`` are fields that are kept and of which a change is no news, such as a status that is our own.
    """

    def __init__(
        self,
        project: Project,
        on_change: OnChange,
        *,
        index: Callable[[Manifest], str | None],
        by_namespace: bool = False,
        quiet: frozenset[str] = frozenset(),
    ) -> None:
        self._quiet = quiet
        self._by_namespace = by_namespace  # one watch per namespace, each with its own progress
        self._project = project
        self._on_change = on_change
        self._index = index
        self._items: dict[Name, Manifest] = {}
        self._by_owner: dict[str, set[Name]] = {}
        self._passed: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._items)

    def get(self, namespace: str, name: str) -> Manifest | None:
        return self._items.get((namespace, name))

    def values(self) -> list[Manifest]:
        return list(self._items.values())

    def of(self, owner: str) -> list[Manifest]:
        """The objects indexed under this owner, by name."""
        return [self._items[name] for name in sorted(self._by_owner.get(owner, ()))]

    def put(self, manifest: Manifest) -> None:
        """An object as list or watch brought it."""
        self._keep(manifest)
        self._pass(self._scope(manifest), version_of(manifest))

    def put_own(self, manifest: Manifest) -> None:
        """The answer to a request of ours, so that the next reconcile sees it. Skipped where the watch has gone past it already."""
        if version_of(manifest) > self._passed.get(self._scope(manifest), 0):
            self._keep(manifest)

    def remove(self, manifest: Manifest) -> None:
        """A deletion; one that concerns a predecessor of the same name changes nothing."""
        self._pass(self._scope(manifest), version_of(manifest))
        self._discard(name_of(manifest), uid=manifest["metadata"].get("uid"))

    def forget(self, namespace: str, name: str, uid: str) -> None:
        """What a live read did not find any more."""
        self._discard((namespace, name), uid=uid)

    def bookmark(self, resource_version: str, namespace: str | None) -> None:
        self._pass(namespace or "", _number(resource_version))

    def replace(self, seen: set[Name], resource_version: str, namespace: str | None) -> None:
        """The end of a list: what it did not bring is gone, unless it is younger than the list."""
        horizon = _number(resource_version)
        for name in [name for name in self._items if name not in seen and namespace in (None, name[0])]:
            if version_of(self._items[name]) <= horizon:
                self._discard(name)
        self.bookmark(resource_version, namespace)

    def _scope(self, manifest: Manifest) -> str:
        return str(manifest["metadata"].get("namespace") or "") if self._by_namespace else ""

    def _pass(self, scope: str, version: int) -> None:
        self._passed[scope] = max(self._passed.get(scope, 0), version)

    def _keep(self, manifest: Manifest) -> None:
        name = name_of(manifest)
        known = self._items.get(name)
        if known is not None and version_of(known) >= version_of(manifest):
            return
        projected = self._project(manifest)
        if projected is None:
            return
        if known is not None:
            self._unindex(name, known)
            if known["metadata"].get("uid") != projected["metadata"].get("uid"):
                self._on_change(known)  # a predecessor of the same name: deleted and created
        self._items[name] = projected
        owner = self._index(projected)
        if owner is not None:
            self._by_owner.setdefault(owner, set()).add(name)
        if known is None or _significant(known, self._quiet) != _significant(projected, self._quiet):
            self._on_change(projected)

    def _discard(self, name: Name, *, uid: str | None = None) -> None:
        known = self._items.get(name)
        if known is None or (uid is not None and known["metadata"].get("uid") != uid):
            return
        self._unindex(name, known)
        del self._items[name]
        self._on_change(known)

    def _unindex(self, name: Name, manifest: Manifest) -> None:
        owner = self._index(manifest)
        if owner is None:
            return
        names = self._by_owner.get(owner)
        if names is not None:
            names.discard(name)
            if not names:
                del self._by_owner[owner]


def _significant(projected: Manifest, quiet: frozenset[str]) -> Manifest:
    """What decisions can read: of two versions that differ in what is not kept, the second is no news."""
    metadata = {field: value for field, value in projected["metadata"].items() if field != "resourceVersion"}
    return {**{field: value for field, value in projected.items() if field not in quiet}, "metadata": metadata}


@dataclass(frozen=True, slots=True)
class Parent:
    """One FineTuneJob at rest in memory."""

    uid: str
    version: int
    text: bytes

    def manifest(self) -> Manifest:
        document: Manifest = orjson.loads(zlib.decompress(self.text))
        return document


class ParentStore:
    """Our own kind, fed by the stream of events, by our own writes, and by the sweep for deletions that the stream missed.

    ``on_put`` hears of every version that is kept, ``on_gone`` of every object that is no more, whoever of them found out: the others come
    too late to tell.
    """

    def __init__(
        self,
        *,
        on_put: Callable[[Key, Manifest], None] = lambda _key, _manifest: None,
        on_gone: Callable[[Key], None] = lambda _key: None,
    ) -> None:
        self._items: dict[Key, Parent] = {}
        self._on_put = on_put
        self._on_gone = on_gone

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[Key]:
        return iter(list(self._items))

    def __contains__(self, key: Key) -> bool:
        return key in self._items

    def get(self, key: Key) -> Manifest | None:
        parent = self._items.get(key)
        return parent.manifest() if parent else None

    def uid(self, key: Key) -> str | None:
        parent = self._items.get(key)
        return parent.uid if parent else None

    def version(self, key: Key) -> int | None:
        parent = self._items.get(key)
        return parent.version if parent else None

    def put(self, manifest: Manifest) -> bool:
        """Keep it; false where we hold this version or a newer one already."""
        key, version, uid = Key(*name_of(manifest)), version_of(manifest), manifest["metadata"]["uid"]
        known = self._items.get(key)
        if known is not None and known.version >= version:
            return False
        if known is not None and known.uid != uid:
            self._on_gone(key)  # a predecessor of the same name: deleted and created
        self._items[key] = Parent(uid, version, zlib.compress(orjson.dumps(_trim(manifest)), 1))
        self._on_put(key, manifest)
        return True

    def remove(self, key: Key, *, uid: str | None = None) -> bool:
        """Forget it, if it is still the one of that uid."""
        known = self._items.get(key)
        if known is None or (uid is not None and known.uid != uid):
            return False
        del self._items[key]
        self._on_gone(key)
        return True


def _trim(manifest: Manifest) -> Manifest:
    """Without what only other tools read; it can be half of the object."""
    metadata = {key: value for key, value in manifest["metadata"].items() if key != "managedFields"}
    annotations = {k: v for k, v in (metadata.get("annotations") or {}).items() if k != "kubectl.kubernetes.io/last-applied-configuration"}
    if "annotations" in metadata:
        metadata["annotations"] = annotations
    return {**manifest, "metadata": metadata}


class ClusterCache:
    """All stores of one operator; ``on_child`` hears which job's children changed, the other two of the jobs themselves."""

    def __init__(
        self,
        on_child: Callable[[Key], None],
        *,
        on_parent: Callable[[Key, Manifest], None] = lambda _key, _manifest: None,
        on_parent_gone: Callable[[Key], None] = lambda _key: None,
        by_namespace: bool = False,
    ) -> None:
        self.parents = ParentStore(on_put=on_parent, on_gone=on_parent_gone)
        self._on_child = on_child
        self.jobs = Store(project_job, self._job_changed, index=_controller_uid, by_namespace=by_namespace)
        self.pods = Store(project_pod, self._pod_changed, index=_label_of, by_namespace=by_namespace)
        self.events = Store(project_event, self._event_changed, index=_regarding_uid, by_namespace=by_namespace)

    def pods_of(self, key: Key) -> list[Manifest]:
        """Pods that carry our label for this job's name, whatever became of the Job that made them."""
        return self.pods.of(f"{key.namespace}/{label_value(key.name)}")

    def key_of(self, pod: Manifest) -> Key | None:
        """The FineTuneJob that a pod belongs to: by the Job that made it, or, should that be gone, by its label."""
        metadata = pod["metadata"]
        owner = controller_of(pod)
        job = self.jobs.get(metadata["namespace"], owner["name"]) if owner is not None else None
        parent = controller_of(job) if job is not None else None
        if parent is not None and parent.get("kind") == FINETUNE_JOBS.kind:
            return Key(metadata["namespace"], parent["name"])
        key = Key(metadata["namespace"], metadata["labels"].get(LABEL_JOB, ""))
        return key if key in self.parents else None

    def _job_changed(self, job: Manifest) -> None:
        owner = controller_of(job)
        if owner is not None and owner.get("kind") == FINETUNE_JOBS.kind:
            self._on_child(Key(job["metadata"]["namespace"], owner["name"]))

    def _pod_changed(self, pod: Manifest) -> None:
        key = self.key_of(pod)
        if key is not None:
            self._on_child(key)

    def _event_changed(self, event: Manifest) -> None:
        regarding = event["involvedObject"]
        namespace, name = regarding.get("namespace") or "", regarding.get("name") or ""
        if regarding.get("kind") == JOBS.kind:
            job = self.jobs.get(namespace, name)
            if job is not None:
                self._job_changed(job)
        else:
            pod = self.pods.get(namespace, name)
            if pod is not None:
                self._pod_changed(pod)


def _controller_uid(job: Manifest) -> str | None:
    owner = controller_of(job)
    return owner["uid"] if owner else None


def _label_of(pod: Manifest) -> str | None:
    metadata = pod["metadata"]
    value = metadata["labels"].get(LABEL_JOB)
    return f"{metadata['namespace']}/{value}" if value else None


def _regarding_uid(event: Manifest) -> str | None:
    uid = event["involvedObject"].get("uid")
    return str(uid) if uid else None
