"""The Job of one attempt: created once, never changed, never retried by anybody but the operator."""

from dataclasses import dataclass
from typing import Any

from finetune_operator.api.base import LABEL_QUEUE
from finetune_operator.api.spec import FineTuneJobSpec
from finetune_operator.manifests.egressprobe import watch_arguments
from finetune_operator.manifests.failurepolicy import build_failure_policy
from finetune_operator.manifests.labels import owner_references, step_labels
from finetune_operator.manifests.names import CLEAN, Owner, job_name
from finetune_operator.manifests.pod import (
    PodEnvironment,
    build_container,
    build_pod_spec,
    clean_arguments,
    step_arguments,
    step_resources,
)
from finetune_operator.manifests.preflight import GivenOrder
from finetune_operator.manifests.signed import SignedRecord
from finetune_operator.manifests.volumes import claim_mounts, clean_mounts, pod_volumes
from finetune_trainer.contract import Step

CLEAN_RETRIES = 3
CLEAN_DEADLINE_SECONDS = 3600


@dataclass(frozen=True)
class Attempt:
    """One attempt of one step of a run; ``micro_batch_size`` overrides what prepare chose, after an out-of-memory."""

    run_key: str
    run_name: str
    step: Step
    number: int
    micro_batch_size: int | None = None
    sealed: tuple[str, str] | None = None
    """Digests of dataset and base model that the train step must find, where the run is governed."""
    order: GivenOrder | None = None
    """By what it is let begin, where the run is governed."""


@dataclass(frozen=True)
class ForgottenRun:
    """A run whose history entry is pruned; ``claim`` holds its work folder."""

    run_key: str
    run_name: str
    claim: str


def build_job(
    owner: Owner, spec: FineTuneJobSpec, attempt: Attempt, environment: PodEnvironment, signed: SignedRecord | None = None
) -> dict[str, Any]:
    """The Job of ``attempt``; only the train step's is put into the queue. ``signed`` is what publish is to put beside the adapter."""
    step = attempt.step
    gpus = spec.resources.gpus_per_node if step is Step.TRAIN else 0
    volumes, mounts = pod_volumes(
        spec,
        attempt.run_name,
        claim_mounts(owner, attempt.run_key, spec, step),
        credentials=step is Step.PREPARE,
        tracker=step is Step.TRAIN,
        judge=step is Step.TRAIN,
        shared_memory=gpus > 0,
    )
    order = attempt.order
    annotations: dict[str, str] = {}
    if signed is not None:
        volumes, mounts = [*volumes, signed.volume], [*mounts, signed.mount]
        annotations |= signed.annotations
    if order is not None:
        volumes = [*volumes, order.volume]  # mounted into the preflight alone
        annotations |= order.annotations
    arguments = step_arguments(step, attempt.number, attempt.micro_batch_size)
    if step is Step.TRAIN and attempt.sealed is not None:
        arguments += ["--data-digest", attempt.sealed[0], "--base-digest", attempt.sealed[1]]
    if step is Step.TRAIN and environment.probe is not None:
        arguments += watch_arguments(environment.probe)
    container = build_container(environment, arguments, step_resources(spec, step), mounts, serves_progress=step is Step.TRAIN)
    labels = {**step_labels(owner, attempt.run_key, step.value, attempt.number), **environment.classification}
    queue = {LABEL_QUEUE: spec.queue_name} if spec.queue_name and step is Step.TRAIN else {}
    return _job(
        owner,
        job_name(attempt.run_name, step, attempt.number),
        {**labels, **queue},
        {
            "backoffLimit": 0,
            "podFailurePolicy": build_failure_policy(
                preflight=order is not None or environment.probe is not None, probed=environment.probe is not None
            ),
            "ttlSecondsAfterFinished": environment.finished_job_ttl_seconds,
            "template": {
                "metadata": {"labels": labels, **({"annotations": annotations} if annotations else {})},
                "spec": build_pod_spec(spec, environment, container, volumes, step=step, order=order),
            },
        },
    )


def build_clean_job(owner: Owner, spec: FineTuneJobSpec, forgotten: ForgottenRun, environment: PodEnvironment) -> dict[str, Any]:
    """The Job that removes the work folder of a run that is being forgotten; nothing waits for it, so it may retry by itself.

    ``spec`` is the object's present spec: tolerations and priority come from it.
    """
    spec = spec.replacing(task=spec.task.replacing(output_schema=None))
    volumes, mounts = pod_volumes(spec, forgotten.run_name, clean_mounts(owner, forgotten.claim))
    arguments = clean_arguments(forgotten.run_key)
    container = build_container(environment, arguments, step_resources(spec, Step.PREPARE), mounts, serves_progress=False)
    labels = {**step_labels(owner, forgotten.run_key, CLEAN, 1), **environment.classification}
    return _job(
        owner,
        job_name(forgotten.run_name, CLEAN, 1),
        labels,
        {
            "backoffLimit": CLEAN_RETRIES,
            "activeDeadlineSeconds": CLEAN_DEADLINE_SECONDS,
            "template": {"metadata": {"labels": labels}, "spec": build_pod_spec(spec, environment, container, volumes, step=None)},
        },
    )


def _job(owner: Owner, name: str, labels: dict[str, str], spec: dict[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "namespace": owner.namespace, "labels": labels, "ownerReferences": owner_references(owner)},
        "spec": {"completions": 1, "parallelism": 1, "podReplacementPolicy": "Failed", **spec},
    }
