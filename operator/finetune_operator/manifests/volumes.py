"""Which step sees which volume: the work folder one at a time, the data only to prepare, the destination only to publish.

Every claim is one volume of the pod, however often it is mounted; kubelet may hang on a claim that appears as two volumes.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from finetune_operator.api.spec import FineTuneJobSpec
from finetune_operator.api.uris import VolumePath, volume_path
from finetune_operator.manifests.names import WORK_ROOT, Owner, work_folder
from finetune_trainer.contract import (
    ARTIFACT_MOUNT,
    BASE_CREDENTIALS_PATH,
    BASE_MOUNT,
    DATA_MOUNT,
    EVALUATION_MOUNT,
    JUDGE_CREDENTIALS_PATH,
    OUT_MOUNT,
    OUTPUT_SCHEMA_PATH,
    RESULTS_FOLDER,
    RUN_SPEC_PATH,
    TRACKER_CREDENTIALS,
    TRACKER_CREDENTIALS_PATH,
    VALIDATION_MOUNT,
    WORK_MOUNT,
    Step,
)

CREDENTIALS_KEY, AUTHORITIES_KEY = "token", "ca.crt"


@dataclass(frozen=True)
class ClaimMount:
    """A claim, or a folder of it, at a path of the pod; ``field`` is the spec field that names the claim."""

    claim: str
    mount_path: str
    field: str
    read_only: bool
    sub_path: str = ""


def work_claim(spec: FineTuneJobSpec) -> str:
    """The claim that holds the run's work folder."""
    return spec.workspace.claim_name if spec.workspace else _claim(spec.artifact.uri).claim


def claim_mounts(owner: Owner, run_key: str, spec: FineTuneJobSpec, step: Step) -> tuple[ClaimMount, ...]:
    """What ``step`` mounts from claims."""
    work = _work_mounts(owner, run_key, spec, step)
    if step is Step.PREPARE:
        return (*_base_mounts(spec), *_data_mounts(spec), *work)
    if step is Step.TRAIN:
        return (*_base_mounts(spec), *work)
    target = _claim(spec.artifact.uri)
    return (*work, ClaimMount(target.claim, ARTIFACT_MOUNT, "spec.artifact.uri", read_only=False, sub_path=target.path))


def clean_mounts(owner: Owner, claim: str) -> tuple[ClaimMount, ...]:
    """The parent of the work folder, so that the folder itself can be removed."""
    return (ClaimMount(claim, WORK_MOUNT, "spec.workspace.claimName", read_only=False, sub_path=f"{WORK_ROOT}/{owner.uid}"),)


def field_of_claim(spec: FineTuneJobSpec, claim: str) -> str:
    """The spec field to correct when ``claim`` does not exist."""
    fields = [(mount.claim, mount.field) for mount in (*_base_mounts(spec), *_data_mounts(spec))]
    if spec.workspace:
        fields.append((spec.workspace.claim_name, "spec.workspace.claimName"))
    fields.append((_claim(spec.artifact.uri).claim, "spec.artifact.uri"))
    return next((field for name, field in fields if name == claim), "spec")


def pod_volumes(
    spec: FineTuneJobSpec,
    run: str,
    mounts: Iterable[ClaimMount],
    *,
    credentials: bool = False,
    tracker: bool = False,
    judge: bool = False,
    shared_memory: bool = False,
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """``volumes`` and ``volumeMounts`` of a step's pod."""
    volumes, volume_mounts = claim_volumes(tuple(mounts))
    _add(volumes, volume_mounts, "run", {"configMap": {"name": run}}, _folder(RUN_SPEC_PATH), read_only=True)
    _add(volumes, volume_mounts, "tmp", {"emptyDir": {}}, "/tmp")  # noqa: S108 - the container's own, root is read-only
    if spec.task.output_schema:
        reference = spec.task.output_schema.config_map_ref
        items = [{"key": reference.key, "path": OUTPUT_SCHEMA_PATH.rsplit("/", 1)[1]}]
        source: dict[str, Any] = {"configMap": {"name": reference.name, "items": items}}
        _add(volumes, volume_mounts, "schema", source, _folder(OUTPUT_SCHEMA_PATH), read_only=True)
    if credentials and spec.base_model.credentials_secret_ref:
        source = _token(spec.base_model.credentials_secret_ref.name)
        _add(volumes, volume_mounts, "credentials", source, BASE_CREDENTIALS_PATH, read_only=True)
    if tracker and spec.tracking is not None and spec.tracking.mlflow.credentials_secret_ref is not None:
        items = [{"key": key, "path": key} for key in TRACKER_CREDENTIALS]
        name = spec.tracking.mlflow.credentials_secret_ref.name
        secret = {"secretName": name, "items": items, "defaultMode": 0o440, "optional": True}  # a tracker stops no training
        _add(volumes, volume_mounts, "tracker", {"secret": secret}, TRACKER_CREDENTIALS_PATH, read_only=True)
    if judge and spec.evaluation.judge is not None and spec.evaluation.judge.credentials_secret_ref is not None:
        source = _token_and_authorities(spec.evaluation.judge.credentials_secret_ref.name)
        _add(volumes, volume_mounts, "judge", source, JUDGE_CREDENTIALS_PATH, read_only=True)
    if shared_memory:
        _add(volumes, volume_mounts, "shm", {"emptyDir": {"medium": "Memory", "sizeLimit": "2Gi"}}, "/dev/shm")  # noqa: S108 - not a file
    return volumes, volume_mounts


def _token(secret: str) -> dict[str, Any]:
    items = [{"key": CREDENTIALS_KEY, "path": CREDENTIALS_KEY}]
    return {"secret": {"secretName": secret, "items": items, "defaultMode": 0o440}}


def _token_and_authorities(secret: str) -> dict[str, Any]:
    """The token must be there, and without it the pod waits; the certificates may be."""
    token, authorities = ({"name": secret, "items": [{"key": key, "path": key}]} for key in (CREDENTIALS_KEY, AUTHORITIES_KEY))
    return {"projected": {"defaultMode": 0o440, "sources": [{"secret": token}, {"secret": {**authorities, "optional": True}}]}}


def _work_mounts(owner: Owner, run_key: str, spec: FineTuneJobSpec, step: Step) -> tuple[ClaimMount, ...]:
    claim, folder = work_claim(spec), work_folder(owner.uid, run_key)
    field = "spec.workspace.claimName" if spec.workspace else "spec.artifact.uri"
    if step is not Step.PUBLISH:
        return (ClaimMount(claim, WORK_MOUNT, field, read_only=False, sub_path=folder),)
    parts = ("out", "out.meta", RESULTS_FOLDER)
    return tuple(ClaimMount(claim, f"{OUT_MOUNT}/{part}", field, read_only=False, sub_path=f"{folder}/{part}") for part in parts)


def _base_mounts(spec: FineTuneJobSpec) -> tuple[ClaimMount, ...]:
    base = volume_path(spec.base_model.uri)
    return (ClaimMount(base.claim, BASE_MOUNT, "spec.baseModel.uri", read_only=True),) if base else ()


def _data_mounts(spec: FineTuneJobSpec) -> tuple[ClaimMount, ...]:
    field = "spec.dataset.ref" if spec.dataset.ref else "spec.dataset.inline.uri"
    mounts = [ClaimMount(_claim(spec.dataset.rows.uri).claim, DATA_MOUNT, field, read_only=True)]
    if spec.dataset.validation.uri:
        mounts.append(
            ClaimMount(_claim(spec.dataset.validation.uri).claim, VALIDATION_MOUNT, "spec.dataset.validation.uri", read_only=True)
        )
    if spec.evaluation.dataset:
        mounts.append(
            ClaimMount(_claim(spec.evaluation.dataset.uri).claim, EVALUATION_MOUNT, "spec.evaluation.dataset.uri", read_only=True)
        )
    return tuple(mounts)


def claim_volumes(mounts: tuple[ClaimMount, ...]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """``volumes`` and ``volumeMounts`` of what comes from claims."""
    claims = list(dict.fromkeys(mount.claim for mount in mounts))
    names = {claim: f"claim-{number}" for number, claim in enumerate(claims, start=1)}
    volumes: list[dict[str, Any]] = []
    for claim in claims:
        source: dict[str, Any] = {"claimName": claim}
        if all(mount.read_only for mount in mounts if mount.claim == claim):
            source["readOnly"] = True
        volumes.append({"name": names[claim], "persistentVolumeClaim": source})
    volume_mounts = []
    for mount in mounts:
        entry: dict[str, Any] = {"name": names[mount.claim], "mountPath": mount.mount_path}
        if mount.read_only:
            entry["readOnly"] = True
        if mount.sub_path:
            entry["subPath"] = mount.sub_path
        volume_mounts.append(entry)
    return volumes, volume_mounts


def _add(
    volumes: list[dict[str, Any]], mounts: list[dict[str, Any]], name: str, source: dict[str, Any], path: str, *, read_only: bool = False
) -> None:
    volumes.append({"name": name, **source})
    mounts.append({"name": name, "mountPath": path, **({"readOnly": True} if read_only else {})})


def _folder(path: str) -> str:
    return path.rsplit("/", 1)[0]


def _claim(uri: str) -> VolumePath:
    place = volume_path(uri)
    assert place is not None, "the schema admits pvc:// only"
    return place
