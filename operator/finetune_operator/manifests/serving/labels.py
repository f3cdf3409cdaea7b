"""Names and labels of what serves: the pods are found by them, whoever looks."""

from collections.abc import Mapping
from typing import Any

from finetune_operator.api.adapterdeployment.deployment import KIND
from finetune_operator.api.adapterdeployment.spec import AdapterDeploymentSpec
from finetune_operator.api.base import (
    FIELD_MANAGER,
    LABEL_COMPONENT,
    LABEL_DEPLOYMENT,
    LABEL_MANAGED_BY,
    LABEL_NAME,
    LABEL_SERVING_ROLE,
    LABEL_VERSION,
)
from finetune_operator.manifests.labels import owner_references
from finetune_operator.manifests.names import Owner
from finetune_operator.manifests.serving.settings import JsonObject

SERVER = "server"
ROUTER = "router"
AGENT = "agent"
CHECK = "check"
"""Role of the Job and pod that read an adapter's files, name of that step and of its container."""
MERGE = "merge"
"""Role of a merge's Job and pod, and name of the step in what they say."""
ROUTER_NAME = "finetune-router"
"""Of everything that is the router's; no name of a server begins like this."""
AGENT_NAME = "finetune-agent"
"""Of the agents' service account and rights."""
_APPLICATION = "finetune-serving"


def server_name(owner: Owner) -> str:
    """Of everything that is one managed server's. A Service's name begins with a letter, an AdapterDeployment's may begin with a digit.

    Its name has at most 52 characters, so this one has at most 59.
    """
    return f"{SERVER}-{owner.name}"


def managed_selector(owner: Owner) -> dict[str, str]:
    """Labels of the pods that the operator runs for ``owner``; never to be changed, since a Deployment's selector cannot be."""
    return {LABEL_SERVING_ROLE: SERVER, LABEL_DEPLOYMENT: owner.name}


def version_selector(owner: Owner, digits: str) -> dict[str, str]:
    """Labels of the pods that serve one version, in mode Merged; ``digits`` are the first of its digest."""
    return {**managed_selector(owner), LABEL_VERSION: digits}


def server_selector(owner: Owner, spec: AdapterDeploymentSpec) -> dict[str, str]:
    """Labels of the server pods in the owner's namespace: those that the operator runs, or those that the user names."""
    external = spec.server.external
    return dict(external.match_labels) if external is not None else managed_selector(owner)


def router_selector() -> dict[str, str]:
    """Labels of a namespace's router pods."""
    return {LABEL_SERVING_ROLE: ROUTER}


def server_metadata(owner: Owner) -> JsonObject:
    """Metadata of a managed server's object."""
    return owned_metadata(owner, server_name(owner), {**common_labels(SERVER), **managed_selector(owner)})


def job_metadata(owner: Owner, role: str) -> JsonObject:
    """Metadata of what belongs to the Jobs of one AdapterDeployment that check, or merge."""
    return owned_metadata(owner, f"{role}-{owner.name}", {**common_labels(role), LABEL_DEPLOYMENT: owner.name})


def http_route_name(owner: Owner) -> str:
    """Of the HTTPRoute to the router; at most 61 characters."""
    return f"finetune-{owner.name}"


def http_route_metadata(owner: Owner) -> JsonObject:
    """Metadata of the HTTPRoute of an AdapterDeployment."""
    return owned_metadata(owner, http_route_name(owner), {**common_labels(ROUTER), LABEL_DEPLOYMENT: owner.name})


def version_metadata(owner: Owner, digits: str) -> JsonObject:
    """Metadata of what serves one version; the names of such AdapterDeployments have at most 40 characters, so this one has at most 60."""
    return owned_metadata(owner, f"{server_name(owner)}-{digits}", {**common_labels(SERVER), **version_selector(owner, digits)})


def owned_metadata(owner: Owner, name: str, labels: dict[str, str]) -> JsonObject:
    """Metadata of what is controlled by an AdapterDeployment, and gone with it."""
    return {"name": name, "namespace": owner.namespace, "labels": labels, "ownerReferences": owner_references(owner, KIND)}


def namespace_metadata(namespace: str, name: str, role: str) -> JsonObject:
    """Metadata of what a namespace has once, whichever AdapterDeployments are in it."""
    return {"name": name, "namespace": namespace, "labels": {**common_labels(role), LABEL_SERVING_ROLE: role}}


def classified(manifest: Mapping[str, Any], labels: Mapping[str, str]) -> Mapping[str, Any]:
    """The object, and the pods that it makes, with these labels as well; the very same one without any."""
    if not labels:
        return manifest
    made: dict[str, Any] = {**manifest, "metadata": _labelled(manifest.get("metadata") or {}, labels)}
    template = (manifest.get("spec") or {}).get("template")
    if template is not None:
        made["spec"] = {**manifest["spec"], "template": {**template, "metadata": _labelled(template.get("metadata") or {}, labels)}}
    return made


def _labelled(metadata: Mapping[str, Any], labels: Mapping[str, str]) -> JsonObject:
    return {**metadata, "labels": {**(metadata.get("labels") or {}), **labels}}


def common_labels(role: str) -> dict[str, str]:
    """Labels of everything that serving consists of."""
    return {LABEL_NAME: _APPLICATION, LABEL_MANAGED_BY: FIELD_MANAGER, LABEL_COMPONENT: role}
