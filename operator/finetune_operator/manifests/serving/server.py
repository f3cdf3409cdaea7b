"""A managed server: the pods with engine and agent, and what keeps them available."""

from collections.abc import Sequence
from dataclasses import dataclass

from finetune_inference.contract import digest_prefix_of
from finetune_operator.api.adapterdeployment.spec import AdapterDeploymentSpec, ManagedServer
from finetune_operator.manifests.names import Owner
from finetune_operator.manifests.security import pod_security
from finetune_operator.manifests.serving.agent import build_agent
from finetune_operator.manifests.serving.availability import build_budget, rolling_update, spread
from finetune_operator.manifests.serving.engine import build_engine, shares_memory
from finetune_operator.manifests.serving.labels import (
    AGENT_NAME,
    MERGE,
    managed_selector,
    server_metadata,
    version_metadata,
    version_selector,
)
from finetune_operator.manifests.serving.mistakes import server_mistake
from finetune_operator.manifests.serving.policies import job_policy, server_policy
from finetune_operator.manifests.serving.settings import AGENT_PORT, ENGINE_PORT, GRACE_SECONDS, JsonObject, ServingSettings
from finetune_operator.manifests.serving.volumes import MergedModel, ServerClaims, server_claims, server_volumes

_REVISIONS = 3


def server_objects(
    owner: Owner, spec: AdapterDeploymentSpec, settings: ServingSettings, claims: Sequence[str] = ()
) -> tuple[JsonObject, ...]:
    """Deployment, Service, budget and network policy of a managed server; none for a server of the user's own.

    ``claims`` are those of the versions in ``.status.desired``, and of the job's artifact that comes next; that of ``spec.adapter.uri`` is
    there anyhow, order and repetition do not matter. Another set of claims makes other pods, because a volume cannot be added to a running
    one: until they are there, agents say ``ClaimNotMounted`` of what lies on it. So a claim that is not needed any more should stay as long
    as the pods do. None as well where `server_mistake` has something to say: what runs already goes on.
    """
    managed = spec.server.managed
    if managed is None or server_mistake(spec, settings) is not None:
        return ()
    metadata, selector = server_metadata(owner), managed_selector(owner)
    policies = (server_policy(metadata, selector, settings),) if settings.network_policies else ()
    return (
        _deployment(owner, spec, managed, settings, _of_adapters(owner, spec, claims)),
        _service(owner),
        build_budget(metadata, selector),
        *policies,
    )


def merged_server_objects(
    owner: Owner, spec: AdapterDeploymentSpec, settings: ServingSettings, models: Sequence[MergedModel]
) -> tuple[JsonObject, ...]:
    """The same in mode Merged: a Deployment for each version's model, and the rest once for all of them.

    A Deployment whose version is not among ``models`` any more is the caller's to delete. None where `server_mistake` has something to say.
    """
    managed = spec.server.managed
    if managed is None or server_mistake(spec, settings) is not None:
        return ()
    metadata, selector = server_metadata(owner), managed_selector(owner)
    policies = (server_policy(metadata, selector, settings), job_policy(owner, MERGE)) if settings.network_policies else ()
    return (
        _service(owner),
        build_budget(metadata, selector),
        *policies,
        *(_deployment(owner, spec, managed, settings, _of_model(owner, model)) for model in models),
    )


@dataclass(frozen=True)
class _Set:
    """What one Deployment's pods are known by, and what they see of claims."""

    metadata: JsonObject
    selector: dict[str, str]
    mounted: ServerClaims | MergedModel


def _of_adapters(owner: Owner, spec: AdapterDeploymentSpec, claims: Sequence[str]) -> _Set:
    return _Set(server_metadata(owner), managed_selector(owner), server_claims(spec, claims))


def _of_model(owner: Owner, model: MergedModel) -> _Set:
    digits = digest_prefix_of(model.version)
    return _Set(version_metadata(owner, digits), version_selector(owner, digits), model)


def _deployment(owner: Owner, spec: AdapterDeploymentSpec, managed: ManagedServer, settings: ServingSettings, of: _Set) -> JsonObject:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": of.metadata,
        "spec": {
            "replicas": managed.replicas,
            "revisionHistoryLimit": _REVISIONS,
            "progressDeadlineSeconds": spec.progress_deadline_seconds,
            "selector": {"matchLabels": of.selector},
            "strategy": rolling_update(),
            "template": {"metadata": {"labels": of.metadata["labels"]}, "spec": _pod(owner, spec, managed, settings, of)},
        },
    }


def _pod(owner: Owner, spec: AdapterDeploymentSpec, managed: ManagedServer, settings: ServingSettings, of: _Set) -> JsonObject:
    mounted, wanted = of.mounted, managed.resources
    pod: JsonObject = {
        "serviceAccountName": AGENT_NAME,
        "automountServiceAccountToken": False,  # the engine gets none; the agent mounts its own
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": GRACE_SECONDS,
        "securityContext": pod_security(),
        "initContainers": [build_agent(owner, managed, mounted, settings)],
        "containers": [build_engine(spec, managed, mounted, settings)],
        "volumes": server_volumes(mounted, shared_memory=shares_memory(managed)),
        "topologySpreadConstraints": spread(of.selector),
    }
    if settings.image_pull_secrets:
        pod["imagePullSecrets"] = [{"name": name} for name in settings.image_pull_secrets]
    if wanted.node_selector:
        pod["nodeSelector"] = dict(wanted.node_selector)
    if wanted.tolerations:
        pod["tolerations"] = [toleration.to_manifest() for toleration in wanted.tolerations]
    return pod


def _service(owner: Owner) -> JsonObject:
    """Headless: nothing is balanced here, the router chooses the pod; it gives the pods names, and scrapers a target."""
    ports = [
        {"name": "http", "port": ENGINE_PORT, "targetPort": "http", "protocol": "TCP"},
        {"name": "agent", "port": AGENT_PORT, "targetPort": "agent", "protocol": "TCP"},
    ]
    spec = {"type": "ClusterIP", "clusterIP": "None", "selector": managed_selector(owner), "ports": ports}
    return {"apiVersion": "v1", "kind": "Service", "metadata": server_metadata(owner), "spec": spec}
