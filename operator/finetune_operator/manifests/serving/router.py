"""The router of a namespace: one for all its AdapterDeployments, owned by none of them."""

from finetune_operator.manifests.security import container_security, pod_security
from finetune_operator.manifests.serving.availability import build_budget, rolling_update, spread
from finetune_operator.manifests.serving.labels import ROUTER, ROUTER_NAME, namespace_metadata, router_selector
from finetune_operator.manifests.serving.policies import router_policy
from finetune_operator.manifests.serving.rights import build_rights
from finetune_operator.manifests.serving.settings import (
    DRAIN_SECONDS,
    GRACE_SECONDS,
    PRE_STOP_SECONDS,
    ROUTER_ADMIN_PORT,
    ROUTER_PORT,
    JsonObject,
    ServingSettings,
)
from finetune_operator.manifests.serving.volumes import STATE, TEMPORARY, token_mount, token_volume

KEYS_SECRET = "finetune-router-keys"  # noqa: S105  a name
"""Each entry is a caller's key. It may be made, changed and removed while the router runs."""
ENGINE_KEY_SECRET = "finetune-engine-key"  # noqa: S105  a name
"""Its entry `ENGINE_KEY_ENTRY` is the ``--api-key`` of the engines that users run themselves; optional, and changed like the other."""
ENGINE_KEY_ENTRY = "key"
ENGINE_KEY = "/etc/finetune/engine-key"
KEYS = "/etc/finetune/keys"
PIN = "/etc/finetune/pin"
PIN_ENTRY = "token"


def namespace_objects(namespace: str, settings: ServingSettings) -> tuple[JsonObject, ...]:
    """Service accounts and rights of agents and router; the router's Deployment, Service, budget and network policy.

    Nothing owns them: whoever applies them removes them with the namespace's last AdapterDeployment.
    """
    metadata, selector = namespace_metadata(namespace, ROUTER_NAME, ROUTER), router_selector()
    policies = (router_policy(namespace, settings),) if settings.network_policies else ()
    return (
        *build_rights(namespace),
        _deployment(namespace, metadata, settings),
        _service(metadata),
        build_budget(metadata, selector),
        *policies,
    )


def _deployment(namespace: str, metadata: JsonObject, settings: ServingSettings) -> JsonObject:
    spec = {
        "replicas": settings.router_replicas,
        "revisionHistoryLimit": 3,
        "selector": {"matchLabels": router_selector()},
        "strategy": rolling_update(),
        "template": {"metadata": {"labels": metadata["labels"]}, "spec": _pod(namespace, settings)},
    }
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec}


def _pod(namespace: str, settings: ServingSettings) -> JsonObject:
    pod: JsonObject = {
        "serviceAccountName": ROUTER_NAME,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": GRACE_SECONDS,
        "securityContext": pod_security(),
        "containers": [_container(namespace, settings)],
        "volumes": _volumes(settings),
        "topologySpreadConstraints": spread(router_selector()),
    }
    if settings.image_pull_secrets:
        pod["imagePullSecrets"] = [{"name": name} for name in settings.image_pull_secrets]
    return pod


def _container(namespace: str, settings: ServingSettings) -> JsonObject:
    mounts = [{"name": "state", "mountPath": STATE}, {"name": "tmp", "mountPath": TEMPORARY}, token_mount()]
    mounts.append({"name": "keys", "mountPath": KEYS, "readOnly": True})
    mounts.append({"name": "engine-key", "mountPath": ENGINE_KEY, "readOnly": True})
    if settings.pin_secret:
        mounts.append({"name": "pin", "mountPath": PIN, "readOnly": True})
    return {
        "name": "router",
        "image": settings.inference_image,
        "imagePullPolicy": settings.image_pull_policy,
        "command": ["finetune-inference", "route"],
        "args": _arguments(namespace, settings),
        "env": [{"name": "HOME", "value": TEMPORARY}, {"name": "TMPDIR", "value": TEMPORARY}],
        "ports": [
            {"name": "http", "containerPort": ROUTER_PORT, "protocol": "TCP"},
            {"name": "admin", "containerPort": ROUTER_ADMIN_PORT, "protocol": "TCP"},
        ],
        # Memory: some 170 MiB for two workers, and up to 256 MiB of waiting bodies in each.
        "resources": {"requests": {"cpu": "250m", "memory": "256Mi"}, "limits": {"memory": f"{512 + 384 * settings.router_workers}Mi"}},
        "volumeMounts": mounts,
        "startupProbe": _probe("/healthz", period=1, failures=60),
        "livenessProbe": _probe("/healthz", period=10, failures=6),
        "readinessProbe": _probe("/readyz", period=3, failures=2),
        "lifecycle": {"preStop": {"sleep": {"seconds": PRE_STOP_SECONDS}}},
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": container_security(),
    }


def _arguments(namespace: str, settings: ServingSettings) -> list[str]:
    arguments = ["--watch-namespace", namespace, "--state-dir", STATE, "--port", str(ROUTER_PORT), "--admin-port", str(ROUTER_ADMIN_PORT)]
    arguments += ["--workers", str(settings.router_workers), "--drain-seconds", str(DRAIN_SECONDS)]
    arguments += ["--api-keys", KEYS, "--without-keys", "refuse" if settings.require_api_keys else "admit"]
    arguments += ["--engine-key-file", f"{ENGINE_KEY}/{ENGINE_KEY_ENTRY}"]
    if settings.pin_secret:
        arguments += ["--pin-token-file", f"{PIN}/{PIN_ENTRY}"]
    return arguments


def _volumes(settings: ServingSettings) -> list[JsonObject]:
    keys = {"secretName": KEYS_SECRET, "optional": True, "defaultMode": 0o440}
    volumes: list[JsonObject] = [{"name": "state", "emptyDir": {}}, {"name": "tmp", "emptyDir": {}}, token_volume()]
    volumes.append({"name": "keys", "secret": keys})
    engine_key = {"secretName": ENGINE_KEY_SECRET, "items": [{"key": ENGINE_KEY_ENTRY, "path": ENGINE_KEY_ENTRY}]}
    volumes.append({"name": "engine-key", "secret": {**engine_key, "optional": True, "defaultMode": 0o440}})
    if settings.pin_secret:
        items = [{"key": PIN_ENTRY, "path": PIN_ENTRY}]
        volumes.append({"name": "pin", "secret": {"secretName": settings.pin_secret, "items": items, "defaultMode": 0o440}})
    return volumes


def _service(metadata: JsonObject) -> JsonObject:
    """For clients: ``http://finetune-router.NAMESPACE:8000/v1``. The other port is in no Service: it concerns single pods."""
    ports = [{"name": "http", "port": ROUTER_PORT, "targetPort": "http", "protocol": "TCP"}]
    spec = {"type": "ClusterIP", "selector": router_selector(), "ports": ports}
    return {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec}


def _probe(path: str, *, period: int, failures: int) -> JsonObject:
    return {"httpGet": {"path": path, "port": "admin"}, "periodSeconds": period, "timeoutSeconds": 3, "failureThreshold": failures}
