"""What the operator knows of serving, in memory: AdapterDeployments, their pods, Deployments and Jobs, and the artifacts of FineTuneJobs.

``wake`` hears whose decision a change may concern, ``seen`` of every version of a deployment, ``pod_gone`` of the namespace and uid of pods
that are no more.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from finetune_operator.api.base import LABEL_DEPLOYMENT, LABEL_SERVING_ROLE
from finetune_operator.cluster.cache import Key, ParentStore, Store, controller_of
from finetune_operator.cluster.kube import Manifest
from finetune_operator.cluster.projections import project_deployment, project_job, project_pod
from finetune_operator.cluster.selected import SelectedPods
from finetune_operator.control.rollout.artifacts import Artifacts
from finetune_operator.control.rollout.siblings import Siblings, summary_of
from finetune_operator.domain.rollout.observed import Sibling
from finetune_operator.manifests.names import label_value
from finetune_operator.manifests.serving import CHECK, MERGE, ROUTER, SERVER

_OVER: Final = ("Succeeded", "Failed")
_UNLISTED: Final = "spec.server.external.matchLabels: the API server does not list pods by them"
_LISTED: Final = "Correct the labels; if it is a right that is missing, let the operator list and watch pods of this namespace."


class ServingCache:
    """One per process."""

    def __init__(
        self,
        wake: Callable[[Key], None],
        *,
        seen: Callable[[Key, Manifest], None] = lambda _key, _manifest: None,
        pod_gone: Callable[[str, str], None] = lambda _namespace, _uid: None,
        by_namespace: bool = False,
        selected: SelectedPods | None = None,
    ) -> None:
        self.deployments = ParentStore(on_put=self._deployment_seen, on_gone=self._deployment_gone)
        self.siblings = Siblings()
        self.artifacts = Artifacts()
        self._wake = wake
        self._seen = seen
        self.noted: Callable[[Key, Manifest | None], None] = lambda _key, _manifest: None
        """Hears of each deployment as it is now, None when it is gone: what is counted about them elsewhere."""
        self._pod_gone = pod_gone
        self.selected = selected
        self.pods = Store(project_pod, self._pod_changed, index=_group_of, by_namespace=by_namespace)
        self.jobs = Store(project_job, self._job_changed, index=_group_of, by_namespace=by_namespace)
        self.sets = Store(project_deployment, self._set_changed, index=_group_of, by_namespace=by_namespace)

    # What the watches bring.

    def job_seen(self, key: Key, manifest: Manifest) -> None:
        if self.artifacts.remember(key, manifest):
            self._wake_all(self.siblings.following(key))

    def job_gone(self, key: Key) -> None:
        if self.artifacts.forget(key):
            self._wake_all(self.siblings.following(key))

    def wake_all_of(self, namespace: str) -> None:
        """Something that concerns each deployment of it has changed."""
        self._wake_all(self.siblings.keys_of(namespace))

    # What a decision asks.

    def servers(self, key: Key) -> list[Manifest]:
        """Server pods that are not on their way out: those that the operator runs, or those that the user has selected."""
        if self.selected is not None and self.selected.follows(key):
            return self.selected.of(key)
        return [pod for pod in self.pods.of(f"{key.namespace}/{SERVER}/{label_value(key.name)}") if not _leaving(pod)]

    def siblings_of(self, key: Key) -> tuple[Sibling, ...]:
        """All other deployments of the namespace."""
        return self.siblings.of(key, self.selected.sharing(key) if self.selected is not None else ())

    def complete(self, key: Key) -> bool:
        """Whether its pods are all known; pods that the user selects are looked for only once somebody names them."""
        return self.selected is None or not self.selected.follows(key) or self.selected.known(key)

    def unlisted(self, key: Key) -> str:
        """Why the pods that it selects cannot be known, for people; empty where they are, or will be."""
        refusal = self.selected.refusal(key) if self.selected is not None else ""
        return f"{_UNLISTED}: {refusal.rstrip('. ')}. {_LISTED}" if refusal else ""

    def job_pods(self, key: Key, role: str) -> list[Manifest]:
        """Pods of the Jobs that check, or merge, for it, however they ended."""
        return self.pods.of(f"{key.namespace}/{role}/{label_value(key.name)}")

    def jobs_of(self, key: Key, role: str, uid: str) -> list[Manifest]:
        """Those Jobs, if they are this object's and not a namesake's."""
        jobs = self.jobs.of(f"{key.namespace}/{role}/{label_value(key.name)}")
        return [job for job in jobs if (controller_of(job) or {}).get("uid") == uid]

    def routers(self, namespace: str) -> list[Manifest]:
        """Router pods that may get requests: ready ones, and others whose process runs, because connections outlive readiness."""
        return [pod for pod in self.pods.of(f"{namespace}/{ROUTER}") if not _leaving(pod) and _runs(pod)]

    def server_sets(self, key: Key) -> list[Manifest]:
        """Deployments that its servers run as: one, or in mode Merged one for each version."""
        return self.sets.of(f"{key.namespace}/{SERVER}/{label_value(key.name)}")

    def router_sets(self, namespace: str) -> list[Manifest]:
        """The router's Deployment."""
        return self.sets.of(f"{namespace}/{ROUTER}")

    def idle_routers(self, namespace: str) -> list[Manifest]:
        """Router pods that are to run, and do not."""
        return [pod for pod in self.pods.of(f"{namespace}/{ROUTER}") if not _leaving(pod) and not _runs(pod)]

    def _deployment_seen(self, key: Key, manifest: Manifest) -> None:
        self._seen(key, manifest)
        self.noted(key, manifest)
        if self.selected is not None:
            self.selected.follow(key, dict(summary_of(manifest).labels))
        self._wake_all(self.siblings.remember(key, manifest))

    def _deployment_gone(self, key: Key) -> None:
        self.noted(key, None)
        if self.selected is not None:
            self.selected.follow(key, {})
        self._wake_all(self.siblings.forget(key))

    def _pod_changed(self, pod: Manifest) -> None:
        metadata = pod["metadata"]
        labels, namespace = metadata["labels"], metadata["namespace"]
        if self.pods.get(namespace, metadata["name"]) is None:
            self._pod_gone(namespace, metadata["uid"])
        self._wake_concerned(namespace, labels)

    def _set_changed(self, found: Manifest) -> None:
        self._wake_concerned(found["metadata"]["namespace"], found["metadata"]["labels"])

    def _wake_concerned(self, namespace: str, labels: Mapping[str, str]) -> None:
        if labels.get(LABEL_SERVING_ROLE) == ROUTER:
            self._wake_all(self.siblings.keys_of(namespace))
        else:
            self._wake_all(self.siblings.labelled(namespace, labels.get(LABEL_DEPLOYMENT) or ""))

    def _job_changed(self, job: Manifest) -> None:
        metadata = job["metadata"]
        self._wake_all(self.siblings.labelled(metadata["namespace"], metadata["labels"].get(LABEL_DEPLOYMENT) or ""))

    def _wake_all(self, keys: Iterable[Key]) -> None:
        for key in keys:
            self._wake(key)


def _group_of(pod: Manifest) -> str | None:
    metadata = pod["metadata"]
    role, name = metadata["labels"].get(LABEL_SERVING_ROLE), metadata["labels"].get(LABEL_DEPLOYMENT)
    if role == ROUTER:
        return f"{metadata['namespace']}/{ROUTER}"
    return f"{metadata['namespace']}/{role}/{name}" if role in (SERVER, CHECK, MERGE) and name else None


def address_of(pod: Manifest) -> str:
    """Its address; empty as long as it has none."""
    return str((pod.get("status") or {}).get("podIP") or "")


def _leaving(pod: Manifest) -> bool:
    return bool(pod["metadata"].get("deletionTimestamp")) or (pod.get("status") or {}).get("phase") in _OVER


def _runs(pod: Manifest) -> bool:
    """Whether a process listens in it: by its condition, or by its containers."""
    status = pod.get("status") or {}
    if any(condition.get("type") == "Ready" and condition.get("status") == "True" for condition in status.get("conditions") or []):
        return True
    return bool(address_of(pod)) and any("running" in (container.get("state") or {}) for container in status.get("containerStatuses") or [])
