"""The Job of one attempt to read an adapter's files before any server is made for them: created once, tried again only by the operator.

It asks ``finetune-inference preflight`` what an agent asks in a server pod, of the same claims and with the same limits.
"""

import hashlib
from dataclasses import dataclass
from typing import Any, Final

from finetune_operator.api.adapterdeployment.spec import AdapterDeploymentSpec, Engine
from finetune_operator.api.uris import volume_path
from finetune_operator.manifests.names import Owner, run_hash
from finetune_operator.manifests.security import container_security
from finetune_operator.manifests.serving.job import build_job, build_pod
from finetune_operator.manifests.serving.labels import CHECK
from finetune_operator.manifests.serving.policies import job_policy
from finetune_operator.manifests.serving.settings import JsonObject, ServingSettings
from finetune_operator.manifests.serving.volumes import TEMPORARY, claim_folder
from finetune_operator.manifests.volumes import ClaimMount, claim_volumes
from finetune_trainer.contract import BASE_MOUNT, TERMINATION_LOG, canonical_json

_RESOURCES: Final[JsonObject] = {"requests": {"cpu": "50m", "memory": "128Mi"}, "limits": {"memory": "512Mi"}}
"""An agent's, who does the same beside its engine."""
_GRACE_SECONDS: Final = 10


@dataclass(frozen=True)
class CheckOrder:
    """An attempt to read the files of one version; attempts are counted from 1."""

    attempt: int
    uri: str
    digest: str


def check_basis(spec: AdapterDeploymentSpec, uri: str, digest: str) -> str:
    """All that a verdict depends on, hashed: with equal values nothing has to be read again."""
    inputs = [uri, digest, spec.base_model.uri, spec.base_model.digest, _engine(spec).value, spec.server.capacity.max_lora_rank]
    return hashlib.sha256(canonical_json(inputs).encode()).hexdigest()[:16]


def check_run(owner: Owner, basis: str) -> str:
    """What the attempts at one check have in common, as their label says it."""
    return run_hash(owner.uid, _identity(basis))


def check_objects(owner: Owner, settings: ServingSettings) -> tuple[JsonObject, ...]:
    """What has to be there before the first of an AdapterDeployment's checks; gone with it."""
    return (job_policy(owner, CHECK),) if settings.network_policies else ()


def build_check_job(owner: Owner, spec: AdapterDeploymentSpec, order: CheckOrder, settings: ServingSettings) -> JsonObject:
    """The Job; all claims are mounted to be read, and the copy that is looked at goes with the pod."""
    identity = _identity(check_basis(spec, order.uri, order.digest))
    return build_job(owner, CHECK, _pod(spec, order, settings), settings, identity=identity, attempt=order.attempt)


def _pod(spec: AdapterDeploymentSpec, order: CheckOrder, settings: ServingSettings) -> JsonObject:
    volumes, mounts = claim_volumes(_mounts(spec, order))
    container: JsonObject = {
        "name": CHECK,
        "image": settings.inference_image,
        "imagePullPolicy": settings.image_pull_policy,
        "command": ["finetune-inference", "preflight"],
        "args": [*_arguments(spec, order), *_record_arguments(settings)],
        "env": [{"name": "HOME", "value": TEMPORARY}, {"name": "TMPDIR", "value": TEMPORARY}],
        "resources": _RESOURCES,
        "volumeMounts": [*mounts, {"name": "tmp", "mountPath": TEMPORARY}],
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": container_security(),
    }
    return build_pod(container, volumes, spec, settings, grace_seconds=_GRACE_SECONDS)


def _mounts(spec: AdapterDeploymentSpec, order: CheckOrder) -> tuple[ClaimMount, ...]:
    """Whole claims, as an agent has them: links in a hub's cache lead out of the model's folder."""
    base, adapter = volume_path(spec.base_model.uri), volume_path(order.uri)
    assert adapter is not None, "the schema admits pvc:// only"
    beneath = (ClaimMount(base.claim, BASE_MOUNT, "spec.baseModel.uri", read_only=True),) if base is not None else ()
    return (*beneath, ClaimMount(adapter.claim, claim_folder(adapter.claim), "spec.adapter.uri", read_only=True))


def _arguments(spec: AdapterDeploymentSpec, order: CheckOrder) -> list[str]:
    base, adapter = volume_path(spec.base_model.uri), volume_path(order.uri)
    assert adapter is not None, "the schema admits pvc:// only"
    wanted: dict[str, Any] = {
        "--uri": order.uri,
        "--digest": order.digest,
        "--claim": f"{adapter.claim}={claim_folder(adapter.claim)}",
        "--base-model": f"{BASE_MOUNT}/{base.path}" if base is not None else None,
        "--base-digest": spec.base_model.digest,
        "--engine": _engine(spec).value,
        "--max-lora-rank": spec.server.capacity.max_lora_rank,
        "--scratch": TEMPORARY,
        "--result": TERMINATION_LOG,
    }
    return [text for flag, value in wanted.items() if value is not None for text in (flag, str(value))]


def _record_arguments(settings: ServingSettings) -> list[str]:
    keys = [f"--record-key={pem}" for pem in settings.record_keys]
    return ["--record", *keys] if settings.reads_records or keys else []


def _engine(spec: AdapterDeploymentSpec) -> Engine:
    """What the user runs himself is vLLM."""
    return spec.server.managed.engine if spec.server.managed is not None else Engine.VLLM


def _identity(basis: str) -> str:
    return f"{CHECK} {basis}"
