"""AdapterDeployments whose servers differ in everything that can differ."""

from typing import Any

from finetune_operator.api.adapterdeployment.spec import AdapterDeploymentSpec
from finetune_operator.manifests.names import Owner
from finetune_operator.manifests.serving import (
    CheckOrder,
    JsonObject,
    MergeOrder,
    ServingSettings,
    build_check_job,
    build_merge_job,
    check_objects,
    merged_model,
    merged_server_objects,
    namespace_objects,
    server_objects,
)

OWNER = Owner("support", "ticket-router", "0b6e1c1e-1111-4222-8333-444455556666")
DIGEST = "sha256:" + "0" * 64
SETTINGS = ServingSettings(inference_image="registry.example/inference@sha256:" + "1" * 64)
MERGE_SETTINGS = ServingSettings(inference_image=SETTINGS.inference_image, trainer_image="registry.example/trainer:1")
FULL_SETTINGS = ServingSettings(
    inference_image="registry.example/inference:1",
    image_pull_policy="Always",
    image_pull_secrets=("pull",),
    default_vllm_image="registry.example/vllm:1",
    router_replicas=3,
    router_workers=4,
    require_api_keys=True,
    pin_secret="finetune-router-pin",
    operator_namespace="operators",
    operator_labels={"app": "operator"},
    clients_from=({"namespaceSelector": {"matchLabels": {"team": "web"}}},),
    metrics_from=({"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}},),
    api_server_ports=(6443,),
    api_server_cidrs=("10.0.0.1/32",),
)
SMALL: dict[str, Any] = {
    "modelName": "tickets",
    "adapter": {"fineTuneJobRef": {"name": "ticket-router"}},
    "baseModel": {"uri": "pvc://models/tiny-chat"},
    "server": {"managed": {}},
}
FULL: dict[str, Any] = {
    "modelName": "tickets",
    "adapter": {"uri": "pvc://adapters/support/tickets", "digest": DIGEST},
    "baseModel": {"uri": "pvc://models/llama/8b", "digest": DIGEST},
    "server": {
        "managed": {
            "engine": "vLLM",
            "image": "registry.example/other-vllm:2",
            "replicas": 3,
            "resources": {
                "gpus": 2,
                "gpuResourceName": "example.com/gpu",
                "requests": {"cpu": 8, "memory": "32Gi"},
                "limits": {"memory": "64Gi", "ephemeral-storage": "20Gi"},
                "nodeSelector": {"zone": "a"},
                "tolerations": [{"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}],
            },
            "args": ["--max-model-len", "8192"],
        },
        "capacity": {"maxLoras": 3, "maxCpuLoras": 6, "maxLoraRank": 40},
    },
}
EXTERNAL: dict[str, Any] = {
    **SMALL,
    "server": {"external": {"matchLabels": {"app": "vllm"}, "port": 8080, "adapterMountPath": "/adapters"}},
}
MERGED: dict[str, Any] = {
    **SMALL,
    "mode": "Merged",
    "merge": {"uri": "pvc://merged/bot", "resources": {"limits": {"cpu": "4", "memory": "8Gi"}}},
    "baseModel": {"uri": "pvc://models/tiny-chat", "digest": DIGEST},
}
ORDER = MergeOrder(2, DIGEST, "pvc://adapters/support/a", "sha256:" + "a" * 64)
CHECK_ORDER = CheckOrder(2, "pvc://adapters/support/a", "sha256:" + "a" * 64)
MODELS = (merged_model("tickets--aaaaaaaaaaaa", "pvc://merged/bot/" + "c" * 64),)
ONE_CLAIM: dict[str, Any] = {**FULL, "baseModel": {"uri": "pvc://adapters/base"}}
SPECS = {"transformers": SMALL, "vllm": FULL, "one-claim": ONE_CLAIM}


def read(spec: dict[str, Any]) -> AdapterDeploymentSpec:
    return AdapterDeploymentSpec.model_validate(spec)


def objects() -> dict[str, tuple[JsonObject, ...]]:
    """What is applied, by occasion."""
    return {
        "transformers": server_objects(OWNER, read(SMALL), SETTINGS, ("adapters", "more")),
        "vllm": server_objects(OWNER, read(FULL), FULL_SETTINGS, ("older",)),
        "merged": (
            *merged_server_objects(OWNER, read(MERGED), SETTINGS, MODELS),
            build_merge_job(OWNER, read(MERGED), ORDER, MERGE_SETTINGS),
        ),
        "merged-vllm": merged_server_objects(OWNER, read({**MERGED, "server": FULL["server"]}), FULL_SETTINGS, MODELS),
        "one-claim": server_objects(OWNER, read(ONE_CLAIM), SETTINGS),
        "namespace": namespace_objects("support", SETTINGS),
        "namespace-with-everything": namespace_objects("support", FULL_SETTINGS),
    }


def check(spec: dict[str, Any] = FULL, settings: ServingSettings = FULL_SETTINGS) -> tuple[JsonObject, ...]:
    """What is made before any server."""
    return (*check_objects(OWNER, settings), build_check_job(OWNER, read(spec), CHECK_ORDER, settings))


def of_kind(found: tuple[JsonObject, ...], kind: str) -> JsonObject:
    """The one object of a kind."""
    (only,) = (each for each in found if each["kind"] == kind)
    return only


def pod_of(found: tuple[JsonObject, ...]) -> JsonObject:
    pod: JsonObject = of_kind(found, "Deployment")["spec"]["template"]["spec"]
    return pod


def containers_of(pod: JsonObject) -> dict[str, JsonObject]:
    return {container["name"]: container for container in [*pod.get("initContainers", []), *pod["containers"]]}
