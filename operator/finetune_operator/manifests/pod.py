"""The pod of one attempt of a step: runs under the restricted Pod Security level, without a service account token."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from finetune_operator.api.spec import ComputeResources, FineTuneJobSpec
from finetune_operator.manifests.egressprobe import EgressProbe
from finetune_operator.manifests.failurepolicy import TRAINER_CONTAINER
from finetune_operator.manifests.preflight import GivenOrder, build_preflight
from finetune_operator.manifests.security import container_security, pod_security
from finetune_trainer.contract import PROGRESS_PORT, RUN_SPEC_PATH, WORK_MOUNT, Step, TunerType
from finetune_trainer.contract.governance.containment import Containment

COMMAND = "finetune-trainer"
_SUBCOMMAND = {Step.PREPARE: "prepare", Step.TRAIN: "run", Step.PUBLISH: "publish"}
_SMALL = {"requests": {"cpu": "250m", "memory": "512Mi"}}
_TRAIN_REQUESTS = {"cpu": "1", "memory": "1Gi"}
_GRACE_SECONDS = 30
_GRACE_SECONDS_ADAPTER = 90
_GRACE_SECONDS_FULL = 300


@dataclass(frozen=True)
class PodEnvironment:
    """What the installation decides about pods, how sensitive what they work on is, as labels, and how they are shut in."""

    image: str
    image_pull_policy: str = "IfNotPresent"
    image_pull_secrets: tuple[str, ...] = ()
    finished_job_ttl_seconds: int = 86_400
    classification: Mapping[str, str] = field(default_factory=dict)
    containment: Containment = field(default_factory=Containment)
    probe: EgressProbe | None = None
    """Goes before every step whose egress is closed."""


def step_arguments(step: Step, attempt: int, micro_batch_size: int | None) -> list[str]:
    """The trainer's command line for a step."""
    arguments = [_SUBCOMMAND[step], "--spec", RUN_SPEC_PATH, "--attempt", str(attempt)]
    if step is Step.TRAIN and micro_batch_size is not None:
        arguments += ["--micro-batch-size", str(micro_batch_size)]
    return arguments


def clean_arguments(run_key: str) -> list[str]:
    """The trainer's command line that removes a run's work folder."""
    return ["clean", "--spec", RUN_SPEC_PATH, "--workspace", f"{WORK_MOUNT}/{run_key[:16]}"]


def step_resources(spec: FineTuneJobSpec, step: Step) -> dict[str, Any]:
    """Compute resources: an accelerator is held by the train step only."""
    if step is not Step.TRAIN:
        return {kind: dict(amounts) for kind, amounts in _SMALL.items()}
    wanted = spec.resources
    requests, limits = _amounts(wanted.requests), _amounts(wanted.limits)
    for name, amount in _TRAIN_REQUESTS.items():
        if name not in limits:
            requests.setdefault(name, amount)
    if wanted.gpus_per_node:
        limits[wanted.gpu_resource_name] = str(wanted.gpus_per_node)
        requests[wanted.gpu_resource_name] = str(wanted.gpus_per_node)
    return {kind: amounts for kind, amounts in (("requests", requests), ("limits", limits)) if amounts}


def grace_seconds(spec: FineTuneJobSpec, step: Step) -> int:
    """Time between TERM and KILL: one training step and a sealed checkpoint, which for all weights is many gigabytes."""
    if step is not Step.TRAIN:
        return _GRACE_SECONDS
    return _GRACE_SECONDS_FULL if spec.tuner.type is TunerType.FULL else _GRACE_SECONDS_ADAPTER


def build_container(
    environment: PodEnvironment, arguments: list[str], resources: dict[str, Any], mounts: list[dict[str, Any]], *, serves_progress: bool
) -> dict[str, Any]:
    """The trainer container."""
    container: dict[str, Any] = {
        "name": TRAINER_CONTAINER,
        "image": environment.image,
        "imagePullPolicy": environment.image_pull_policy,
        "command": [COMMAND],
        "args": arguments,
        "env": [{"name": "TMPDIR", "value": "/tmp"}, {"name": "HOME", "value": "/tmp"}, {"name": "HF_HOME", "value": "/tmp/hf"}],  # noqa: S108
        "resources": resources,
        "volumeMounts": mounts,
        "terminationMessagePolicy": "File",
        "securityContext": container_security(),
    }
    if serves_progress:
        container["ports"] = [{"name": "progress", "containerPort": PROGRESS_PORT, "protocol": "TCP"}]
    return container


def build_pod_spec(
    spec: FineTuneJobSpec,
    environment: PodEnvironment,
    container: dict[str, Any],
    volumes: list[dict[str, Any]],
    *,
    step: Step | None,
    order: GivenOrder | None = None,
) -> dict[str, Any]:
    """The pod around ``container``; node choice and runtime class belong to the train step, tolerations and priority to all.

    ``order`` is what a preflight goes by, and one of ``volumes``.
    """
    pod: dict[str, Any] = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": grace_seconds(spec, step) if step else _GRACE_SECONDS,
        "securityContext": pod_security(),
        "containers": [container],
        "volumes": volumes,
    }
    if environment.image_pull_secrets:
        pod["imagePullSecrets"] = [{"name": name} for name in environment.image_pull_secrets]
    wanted = spec.resources
    if wanted.tolerations:
        pod["tolerations"] = [toleration.to_manifest() for toleration in wanted.tolerations]
    if wanted.priority_class_name:
        pod["priorityClassName"] = wanted.priority_class_name
    if step is Step.TRAIN:
        if wanted.node_selector:
            pod["nodeSelector"] = dict(wanted.node_selector)
        if wanted.runtime_class_name:
            pod["runtimeClassName"] = wanted.runtime_class_name
    if environment.probe is not None or order is not None:
        pod["initContainers"] = [build_preflight(environment.probe, order, environment.image, environment.image_pull_policy)]
    return {**pod, **_demanded(environment.containment)}


def _demanded(containment: Containment) -> dict[str, Any]:
    """Where and in what the policies let a pod run: stronger than what the spec says, and for every step."""
    demanded: dict[str, Any] = {}
    if containment.runtime_class_name is not None:
        demanded["runtimeClassName"] = containment.runtime_class_name
    if containment.nodes:
        labels = [{"key": each.key, "operator": "In", "values": list(each.values)} for each in containment.nodes]
        required = {"nodeSelectorTerms": [{"matchExpressions": labels}]}
        demanded["affinity"] = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}}
    return demanded


def _amounts(resources: ComputeResources | None) -> dict[str, str]:
    return dict(resources.to_manifest()) if resources else {}
