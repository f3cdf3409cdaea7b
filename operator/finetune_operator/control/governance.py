"""What the operator knows of governance, in memory: namespaces' labels, policies, registered data, approvals; and whom a change concerns.

A change of any of them is a new question about the jobs that it may concern, whether they run or have ended: nothing is decided once and
for all.
"""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Final

from finetune_operator.api.adapterdeployment.status import AdapterRecordStatus
from finetune_operator.cluster.cache import Key, ParentStore, Store, controller_of, version_of
from finetune_operator.cluster.kube import Manifest
from finetune_operator.cluster.resources import FINETUNE_JOBS
from finetune_operator.domain import reading
from finetune_operator.domain.governance.serving import ServingView, Withdrawal
from finetune_operator.domain.governance.view import GovernanceView, read_policy, read_withdrawal
from finetune_trainer.contract.governance import Policy
from finetune_trainer.contract.governance.facts import Site
from finetune_trainer.contract.governance.vocabulary import NODE_DOMAIN

_HEADER: Final = ("name", "namespace", "uid", "resourceVersion", "generation", "creationTimestamp", "deletionTimestamp")


class GovernanceCache:
    """Six stores that reflectors fill. ``changed`` hears of each job that a change may concern, from `live` on."""

    def __init__(self, parents: ParentStore, changed: Callable[[Key], None], site: Site, *, by_namespace: bool = False) -> None:
        self._parents = parents
        self._changed = changed
        self.site = site
        self._deployments: tuple[Iterable[Key], Callable[[Key], None]] = ((), lambda _key: None)
        self._withdrawals: tuple[Withdrawal, ...] | None = None
        self.target_reached: Callable[[], bool] = lambda: False
        """Whether the operator reaches the target of egress probes now."""
        self.listeners: list[Callable[[], None]] = []
        """Each is called when a policy, a namespace or registered data have changed: what is said about them may have to change."""
        self._live = False
        self._known_nodes: Mapping[str, Mapping[str, str]] | None = None
        self._read: dict[str, tuple[int, Policy]] = {}
        keep, quiet = partial(_kept, labels=False), frozenset({"status"})
        self.namespaces = Store(partial(_kept, labels=True), self._namespace_changed, index=lambda _namespace: None)
        self.policies = Store(keep, self._policy_changed, index=lambda _policy: None, quiet=quiet)
        self.datasets = Store(keep, self._dataset_changed, index=_namespace_of, by_namespace=by_namespace, quiet=quiet)
        self.nodes = Store(_restricted, self._node_changed, index=lambda _node: None)
        self.network_policies = Store(_kept_policy, self._network_policy_changed, index=_owner_of, by_namespace=by_namespace)
        self.approvals = Store(keep, self._approval_changed, index=_subject_of, by_namespace=by_namespace)

    def live(self) -> None:
        """Everything has been listed: until now every job was going to be looked at anyway."""
        self._live = True

    def also_tell(self, deployments: Iterable[Key], changed: Callable[[Key], None]) -> None:
        """Whom changes concern besides: the AdapterDeployments, and who hears of each."""
        self._deployments = deployments, changed

    def serving_view(
        self,
        key: Key,
        *,
        adapters: Mapping[str, AdapterRecordStatus],
        server_labels: tuple[Mapping[str, str], ...],
        grace_seconds: float,
    ) -> ServingView:
        """What a decision about this AdapterDeployment may know."""
        namespace = self.namespaces.get("", key.namespace)
        return ServingView(
            namespace_labels=(namespace or {}).get("metadata", {}).get("labels") or {},
            policies=self.read_policies(),
            site=self.site,
            withdrawals=self._withdrawn(),
            adapters=adapters,
            server_labels=server_labels,
            grace_seconds=grace_seconds,
            known=namespace is not None,
        )

    def surroundings(self, namespace: str) -> GovernanceView:
        """What can be known of a namespace without a job of it."""
        return self.view(Key(namespace, ""))

    def view(self, key: Key) -> GovernanceView:
        """What a decision about this job may know."""
        namespace = self.namespaces.get("", key.namespace)
        return GovernanceView(
            namespace_labels=(namespace or {}).get("metadata", {}).get("labels") or {},
            policies=self.read_policies(),
            datasets={manifest["metadata"]["name"]: manifest for manifest in self.datasets.of(key.namespace)},
            approvals=(*self.approvals.of(str(key)), *self.approvals.of(_of_nobody(key.namespace))),
            site=self.site,
            nodes=self._nodes(),
            network_policies={each["metadata"]["name"]: each for each in self.network_policies.of(str(key))},
            target_reached=self.target_reached(),
            known=namespace is not None,
        )

    def is_ending(self, namespace: str) -> bool:
        """Whether it is being deleted."""
        found = self.namespaces.get("", namespace)
        return found is not None and bool(found["metadata"].get("deletionTimestamp"))

    def cluster(self) -> str:
        """UID of the namespace kube-system, by which clusters are told apart; empty where it is not known."""
        system = self.namespaces.get("", "kube-system")
        return str(system["metadata"].get("uid") or "") if system is not None else ""

    def read_policies(self) -> tuple[Policy, ...]:
        """Each read once per version."""
        known, self._read = self._read, {}
        for manifest in self.policies.values():
            name, version = manifest["metadata"]["name"], version_of(manifest)
            before = known.get(name)
            self._read[name] = before if before is not None and before[0] == version else (version, read_policy(manifest))
        return tuple(policy for _, policy in self._read.values())

    def ask_again(self) -> None:
        """What the operator reaches has changed."""
        self._tell(lambda _key: True)

    def _nodes(self) -> Mapping[str, Mapping[str, str]]:
        if self._known_nodes is None:
            self._known_nodes = {node["metadata"]["name"]: node["metadata"]["labels"] for node in self.nodes.values()}
        return self._known_nodes

    def _withdrawn(self) -> tuple[Withdrawal, ...]:
        """Of the whole cluster, since an adapter may be served in another namespace than that of its data."""
        if self._withdrawals is None:
            found = (read_withdrawal(manifest) for manifest in self.datasets.values())
            self._withdrawals = tuple(each for each in found if each is not None)
        return self._withdrawals

    def _tell_deployments(self, concerned: Callable[[Key], bool]) -> None:
        if not self._live:
            return
        keys, changed = self._deployments
        for key in keys:
            if concerned(key):
                changed(key)

    def _note(self) -> None:
        for listener in self.listeners:
            listener()

    def _tell(self, concerned: Callable[[Key], bool]) -> None:
        if not self._live:
            return
        for key in self._parents:
            if concerned(key):
                self._changed(key)

    def _policy_changed(self, _policy: Manifest) -> None:
        self._note()
        self._tell(lambda _key: True)
        self._tell_deployments(lambda _key: True)

    def _namespace_changed(self, namespace: Manifest) -> None:
        self._note()
        self._tell(lambda key: key.namespace == namespace["metadata"]["name"])
        self._tell_deployments(lambda key: key.namespace == namespace["metadata"]["name"])

    def _dataset_changed(self, dataset: Manifest) -> None:
        self._note()
        self._withdrawals = None
        self._tell(lambda key: key.namespace == dataset["metadata"]["namespace"])
        if read_withdrawal(dataset) is not None:
            self._tell_deployments(lambda _key: True)

    def _node_changed(self, _node: Manifest) -> None:
        self._known_nodes = None
        self._tell(lambda _key: True)

    def _network_policy_changed(self, policy: Manifest) -> None:
        owner = _owner_of(policy)
        self._tell(lambda key: str(key) == owner)

    def _approval_changed(self, approval: Manifest) -> None:
        subject, namespace = _subject_of(approval), approval["metadata"]["namespace"]
        self._tell(lambda key: str(key) == subject or (subject == _of_nobody(namespace) and key.namespace == namespace))


def _kept(manifest: Manifest, *, labels: bool) -> Manifest | None:
    """What decisions read: of a Namespace its labels, of our own kinds the spec; and the status that we have written."""
    metadata = {field: manifest["metadata"][field] for field in _HEADER if field in manifest["metadata"]}
    if labels:
        return {"metadata": {**metadata, "labels": manifest["metadata"].get("labels") or {}}}
    return {"metadata": metadata, "spec": manifest.get("spec") or {}, "status": manifest.get("status") or {}}


def _restricted(manifest: Manifest) -> Manifest | None:
    """Of a Node the labels that decisions read: all else changes every few seconds and says nothing about where it stands."""
    metadata = {field: manifest["metadata"][field] for field in _HEADER if field in manifest["metadata"]}
    labels = {key: value for key, value in (manifest["metadata"].get("labels") or {}).items() if NODE_DOMAIN.search(key)}
    return {"metadata": {**metadata, "labels": labels}}


def _kept_policy(manifest: Manifest) -> Manifest | None:
    """Whole but for what others keep in it: what was applied is held against what is there."""
    metadata = {field: manifest["metadata"][field] for field in (*_HEADER, "labels", "ownerReferences") if field in manifest["metadata"]}
    return {"metadata": metadata, "spec": manifest.get("spec") or {}}


def _owner_of(manifest: Manifest) -> str | None:
    """The FineTuneJob that a child belongs to."""
    owner = controller_of(manifest)
    return f"{manifest['metadata']['namespace']}/{owner['name']}" if owner is not None and owner.get("kind") == FINETUNE_JOBS.kind else None


def _namespace_of(manifest: Manifest) -> str:
    return str(manifest["metadata"]["namespace"])


def _subject_of(approval: Manifest) -> str:
    """The job that it is about, as far as that can be read: another version of the definition may have stored it."""
    return f"{approval['metadata']['namespace']}/{reading.text(approval, 'spec', 'subjectRef', 'name')}"


def _of_nobody(namespace: str) -> str:
    """Of which job of the namespace an Approval is, that cannot be read."""
    return f"{namespace}/"
