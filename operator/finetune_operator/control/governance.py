"""What the operator knows of governance, in memory: namespaces' labels, policies, registered data, approvals; and whom a change concerns.

A change of any of them is a new question about the jobs that it may concern, whether they run or have ended: nothing is decided once and
for all.
"""

from collections.abc import Callable
from functools import partial
from typing import Final

from finetune_operator.cluster.cache import Key, ParentStore, Store, version_of
from finetune_operator.cluster.kube import Manifest
from finetune_operator.domain.governance.view import GovernanceView, read_policy
from finetune_trainer.contract.governance import Policy
from finetune_trainer.contract.governance.facts import Site

_HEADER: Final = ("name", "namespace", "uid", "resourceVersion", "generation", "creationTimestamp", "deletionTimestamp")


class GovernanceCache:
    """Four stores that reflectors fill. ``changed`` hears of each job that a change may concern, from `live` on."""

    def __init__(self, parents: ParentStore, changed: Callable[[Key], None], site: Site, *, by_namespace: bool = False) -> None:
        self._parents = parents
        self._changed = changed
        self.site = site
        self.noted: Callable[[], None] = lambda: None
        """Called when a policy, a namespace or registered data have changed: what is said about them may have to change."""
        self._live = False
        self._read: dict[str, tuple[int, Policy]] = {}
        keep, quiet = partial(_kept, labels=False), frozenset({"status"})
        self.namespaces = Store(partial(_kept, labels=True), self._namespace_changed, index=lambda _namespace: None)
        self.policies = Store(keep, self._policy_changed, index=lambda _policy: None, quiet=quiet)
        self.datasets = Store(keep, self._dataset_changed, index=_namespace_of, by_namespace=by_namespace, quiet=quiet)
        self.approvals = Store(keep, self._approval_changed, index=_subject_of, by_namespace=by_namespace)

    def live(self) -> None:
        """Everything has been listed: until now every job was going to be looked at anyway."""
        self._live = True

    def view(self, key: Key) -> GovernanceView:
        """What a decision about this job may know."""
        namespace = self.namespaces.get("", key.namespace)
        return GovernanceView(
            namespace_labels=(namespace or {}).get("metadata", {}).get("labels") or {},
            policies=self.read_policies(),
            datasets={manifest["metadata"]["name"]: manifest for manifest in self.datasets.of(key.namespace)},
            approvals=tuple(self.approvals.of(str(key))),
            site=self.site,
            known=namespace is not None,
        )

    def read_policies(self) -> tuple[Policy, ...]:
        """Each read once per version."""
        known, self._read = self._read, {}
        for manifest in self.policies.values():
            name, version = manifest["metadata"]["name"], version_of(manifest)
            before = known.get(name)
            self._read[name] = before if before is not None and before[0] == version else (version, read_policy(manifest))
        return tuple(policy for _, policy in self._read.values())

    def _tell(self, concerned: Callable[[Key], bool]) -> None:
        if not self._live:
            return
        for key in self._parents:
            if concerned(key):
                self._changed(key)

    def _policy_changed(self, _policy: Manifest) -> None:
        self.noted()
        self._tell(lambda _key: True)

    def _namespace_changed(self, namespace: Manifest) -> None:
        self.noted()
        self._tell(lambda key: key.namespace == namespace["metadata"]["name"])

    def _dataset_changed(self, dataset: Manifest) -> None:
        self.noted()
        self._tell(lambda key: key.namespace == dataset["metadata"]["namespace"])

    def _approval_changed(self, approval: Manifest) -> None:
        subject = _subject_of(approval)
        self._tell(lambda key: str(key) == subject)


def _kept(manifest: Manifest, *, labels: bool) -> Manifest | None:
    """What decisions read: of a Namespace its labels, of our own kinds the spec; and the status that we have written."""
    metadata = {field: manifest["metadata"][field] for field in _HEADER if field in manifest["metadata"]}
    if labels:
        return {"metadata": {**metadata, "labels": manifest["metadata"].get("labels") or {}}}
    return {"metadata": metadata, "spec": manifest.get("spec") or {}, "status": manifest.get("status") or {}}


def _namespace_of(manifest: Manifest) -> str:
    return str(manifest["metadata"]["namespace"])


def _subject_of(approval: Manifest) -> str:
    name = ((approval.get("spec") or {}).get("subjectRef") or {}).get("name") or ""
    return f"{approval['metadata']['namespace']}/{name}"
