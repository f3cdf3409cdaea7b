"""The container that answers requests: the server of ours, or vLLM.

Defaults stand before the user's arguments and can be changed by them; what agent, router and probes rely on stands behind, because of two
values for one flag both engines take the last.
"""

from typing import Any

from finetune_inference.contract import BASE_NAME
from finetune_operator.api.adapterdeployment.spec import AdapterDeploymentSpec, Capacity, Engine, ManagedServer, ServerResources
from finetune_operator.api.spec import ComputeResources
from finetune_operator.manifests.security import container_security
from finetune_operator.manifests.serving.mistakes import engine_image
from finetune_operator.manifests.serving.settings import (
    DRAIN_SECONDS,
    ENGINE_ADMIN_PORT,
    ENGINE_PORT,
    PRE_STOP_SECONDS,
    JsonObject,
    ServingSettings,
)
from finetune_operator.manifests.serving.volumes import TEMPORARY, MergedModel, ServerClaims, engine_mounts

VLLM_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""The values of ``--max-lora-rank`` that vLLM knows."""
_REQUESTS = {"cpu": "1", "memory": "1Gi"}
_START_SECONDS = 3600
"""For reading a model of many gigabytes from a slow volume, and for vLLM to warm up; a server that fails ends by itself."""
OFFLINE = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "DO_NOT_TRACK": "1"}
_FOLDERS = {"HOME": TEMPORARY, "TMPDIR": TEMPORARY, "XDG_CACHE_HOME": f"{TEMPORARY}/cache", "HF_HOME": f"{TEMPORARY}/huggingface"}
_VLLM = {
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_CACHE_ROOT": f"{TEMPORARY}/cache/vllm",
    "TORCHINDUCTOR_CACHE_DIR": f"{TEMPORARY}/cache/inductor",
    "TRITON_CACHE_DIR": f"{TEMPORARY}/cache/triton",
    "USER": "finetune",  # torch asks for a name, and the image has none for our user
}


def build_engine(
    spec: AdapterDeploymentSpec, managed: ManagedServer, claims: ServerClaims | MergedModel, settings: ServingSettings
) -> JsonObject:
    """The container; its readiness is the agent's to say, who knows which adapters it holds."""
    vllm, merged = managed.engine is Engine.VLLM, isinstance(claims, MergedModel)
    arguments = _vllm_arguments if vllm else _transformers_arguments
    environment = {**_FOLDERS, **OFFLINE, **(_VLLM if vllm else {})}
    if vllm and not merged:
        environment["VLLM_ALLOW_RUNTIME_LORA_UPDATING"] = "True"
    return {
        "name": "engine",
        "image": engine_image(managed, settings),
        "imagePullPolicy": settings.image_pull_policy,
        "command": ["vllm", "serve"] if vllm else ["finetune-inference", "serve"],
        "args": arguments(spec, managed, claims),
        "env": [{"name": name, "value": value} for name, value in sorted(environment.items())],
        "ports": [{"name": "http", "containerPort": ENGINE_PORT, "protocol": "TCP"}],
        "resources": engine_resources(managed.resources),
        "volumeMounts": engine_mounts(claims, shared_memory=shares_memory(managed)),
        "startupProbe": _health(period=5, failures=_START_SECONDS // 5),
        "livenessProbe": _health(period=10, failures=6),
        "lifecycle": {"preStop": {"sleep": {"seconds": PRE_STOP_SECONDS}}},
        "terminationMessagePolicy": "File",  # not its log: nobody knows what an engine writes of a request as it dies
        "securityContext": container_security(),
    }


def shares_memory(managed: ManagedServer) -> bool:
    """Whether the engine's processes talk through /dev/shm, of which a container has 64 MiB by itself."""
    return managed.engine is Engine.VLLM


def engine_resources(wanted: ServerResources) -> dict[str, dict[str, str]]:
    """What the spec asks for; a least request where it says nothing, so that the scheduler knows that something runs there."""
    requests, limits = _amounts(wanted.requests), _amounts(wanted.limits)
    for name, amount in _REQUESTS.items():
        if name not in limits:
            requests.setdefault(name, amount)
    if wanted.gpus:
        limits[wanted.gpu_resource_name] = requests[wanted.gpu_resource_name] = str(wanted.gpus)
    return {kind: amounts for kind, amounts in (("requests", requests), ("limits", limits)) if amounts}


def vllm_rank(highest: int) -> int:
    """The smallest rank that vLLM knows and that holds ``highest``."""
    return next(rank for rank in VLLM_RANKS if rank >= highest)


def _transformers_arguments(spec: AdapterDeploymentSpec, managed: ManagedServer, claims: ServerClaims | MergedModel) -> list[str]:
    capacity, merged = spec.server.capacity, isinstance(claims, MergedModel)
    ours = {
        "--model": claims.base_path,
        "--served-model-name": _served_as(claims),
        "--host": "0.0.0.0",  # noqa: S104  routers come from outside the pod
        "--port": ENGINE_PORT,
        "--admin-host": "127.0.0.1",
        "--admin-port": ENGINE_ADMIN_PORT,
        # It computes all that it holds in one batch.
        **({} if merged else {"--max-loras": capacity.max_cpu_loras, "--max-lora-rank": capacity.max_lora_rank}),
        "--shutdown-timeout": DRAIN_SECONDS,
    }
    return [*managed.args, *_flags(ours)]


def _vllm_arguments(spec: AdapterDeploymentSpec, managed: ManagedServer, claims: ServerClaims | MergedModel) -> list[str]:
    gpus, merged = managed.resources.gpus, isinstance(claims, MergedModel)
    split = ["--tensor-parallel-size", str(gpus)] if gpus > 1 else []
    ours = {
        "--served-model-name": _served_as(claims),
        "--host": "0.0.0.0",  # noqa: S104  routers come from outside the pod
        "--port": ENGINE_PORT,
        **({} if merged else _lora_limits(spec.server.capacity)),
        "--api-server-count": 1,  # another one would not know what was loaded through the first
        "--shutdown-timeout": DRAIN_SECONDS,
    }
    return [claims.base_path, *split, *managed.args, *([] if merged else ["--enable-lora"]), *_flags(ours)]


def _served_as(claims: ServerClaims | MergedModel) -> str:
    """A merged model has its version's name, so that a router finds it like an adapter of that name."""
    return claims.version if isinstance(claims, MergedModel) else BASE_NAME


def _lora_limits(capacity: Capacity) -> dict[str, int]:
    return {
        "--max-loras": capacity.max_loras,
        "--max-cpu-loras": capacity.max_cpu_loras,
        "--max-lora-rank": vllm_rank(capacity.max_lora_rank),
    }


def _flags(values: dict[str, Any]) -> list[str]:
    return [text for flag, value in values.items() for text in (flag, str(value))]


def _health(*, period: int, failures: int) -> JsonObject:
    return {"httpGet": {"path": "/health", "port": "http"}, "periodSeconds": period, "timeoutSeconds": 5, "failureThreshold": failures}


def _amounts(resources: ComputeResources | None) -> dict[str, str]:
    return dict(resources.to_manifest()) if resources else {}
