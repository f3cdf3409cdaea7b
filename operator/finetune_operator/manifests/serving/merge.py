"""The Job of one attempt to make one model of base and adapter: created once, never changed, never retried by anybody but the operator."""

from dataclasses import dataclass
from typing import Final

from finetune_operator.api.adapterdeployment.spec import AdapterDeploymentSpec, MergeResources, MergeSpec
from finetune_operator.api.uris import VolumePath, volume_path
from finetune_operator.manifests.failurepolicy import build_failure_policy
from finetune_operator.manifests.names import Owner, run_hash
from finetune_operator.manifests.pod import PodEnvironment, build_container
from finetune_operator.manifests.serving.job import build_job, build_pod
from finetune_operator.manifests.serving.labels import MERGE
from finetune_operator.manifests.serving.settings import JsonObject, ServingSettings
from finetune_operator.manifests.volumes import ClaimMount, claim_volumes
from finetune_trainer.contract import ARTIFACT_MOUNT, BASE_MOUNT, OUT_MOUNT, MergeRequest

_REQUESTS: Final = {"cpu": "1", "memory": "2Gi"}
_GRACE_SECONDS: Final = 30


@dataclass(frozen=True)
class MergeOrder:
    """An attempt to make one model of base and adapter; attempts are counted from 1."""

    attempt: int
    base_digest: str
    adapter_uri: str
    adapter_digest: str


def merge_key(base_digest: str, adapter_digest: str) -> str:
    """By what a merge of these two is known, whoever asks for it."""
    return MergeRequest(base_path="-", base_digest=base_digest, adapter_path="-", adapter_digest=adapter_digest, out_path="-").key


def merge_run(owner: Owner, uri: str, key: str) -> str:
    """What the attempts at one merge into one place have in common, as their label says it."""
    return run_hash(owner.uid, _identity(uri, key))


def build_merge_job(owner: Owner, spec: AdapterDeploymentSpec, order: MergeOrder, settings: ServingSettings) -> JsonObject:
    """The Job; base model and adapter are mounted to be read, the place of merged models to be written."""
    assert spec.merge is not None, "mode Merged says where"
    identity = _identity(spec.merge.uri, merge_key(order.base_digest, order.adapter_digest))
    job = build_job(owner, MERGE, _pod(spec, spec.merge, order, settings), settings, identity=identity, attempt=order.attempt)
    return {**job, "spec": {**job["spec"], "podFailurePolicy": build_failure_policy()}}


def _pod(spec: AdapterDeploymentSpec, merge: MergeSpec, order: MergeOrder, settings: ServingSettings) -> JsonObject:
    base, adapter, out = (_place(uri) for uri in (spec.base_model.uri, order.adapter_uri, merge.uri))
    mounts = (
        ClaimMount(base.claim, BASE_MOUNT, "spec.baseModel.uri", read_only=True),
        ClaimMount(adapter.claim, ARTIFACT_MOUNT, "spec.adapter", read_only=True),
        ClaimMount(out.claim, OUT_MOUNT, "merge.uri", read_only=False, sub_path=out.path),
    )
    volumes, volume_mounts = claim_volumes(mounts)
    arguments = ["merge", "--base", f"{BASE_MOUNT}/{base.path}", "--base-digest", order.base_digest, "--base-uri", spec.base_model.uri]
    arguments += [
        "--adapter",
        f"{ARTIFACT_MOUNT}/{adapter.path}",
        "--adapter-digest",
        order.adapter_digest,
        "--adapter-uri",
        order.adapter_uri,
    ]
    arguments += ["--out", OUT_MOUNT, "--out-uri", merge.uri, "--attempt", str(order.attempt)]
    environment = PodEnvironment(settings.trainer_image, settings.image_pull_policy)
    container = build_container(
        environment,
        arguments,
        _resources(merge.resources),
        [*volume_mounts, {"name": "tmp", "mountPath": "/tmp"}],  # noqa: S108  the container's own, root is read-only
        serves_progress=False,
    )
    return build_pod(container, volumes, spec, settings, grace_seconds=_GRACE_SECONDS)


def _identity(uri: str, key: str) -> str:
    return f"{key} {uri}"


def _resources(wanted: MergeResources) -> JsonObject:
    requests = dict(wanted.requests.to_manifest()) if wanted.requests else {}
    limits = dict(wanted.limits.to_manifest()) if wanted.limits else {}
    for name, amount in _REQUESTS.items():
        if name not in limits:
            requests.setdefault(name, amount)
    return {kind: amounts for kind, amounts in (("requests", requests), ("limits", limits)) if amounts}


def _place(uri: str) -> VolumePath:
    place = volume_path(uri)
    assert place is not None, "the schema admits pvc:// only"
    return place
