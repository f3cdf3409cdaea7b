"""What keeps an attempt from starting, from the evidence the cluster leaves: each with the field to look at and what to do.

Every trouble clears by itself once its cause is gone, because it is read anew from what is observed; nothing here is remembered.
"""

import re
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from finetune_operator.api.reasons import Reason
from finetune_operator.api.run import CurrentRun
from finetune_operator.api.spec import FineTuneJobSpec
from finetune_operator.domain.children import Job, Pod
from finetune_operator.domain.observed import WarningEvent
from finetune_operator.manifests.volumes import field_of_claim
from finetune_trainer.contract import Step

PATIENCE_SECONDS = 3.0
"""A scheduler's or kubelet's first refusal often passes within this time, and then nobody needs to read about it."""

MOUNT_EVENT_SECONDS = 180.0
"""kubelet repeats a mount that fails within two minutes: what is older has passed."""

MOUNT_REASONS = ("FailedMount", "FailedAttachVolume", "FailedMapVolume")
SANDBOX_REASON = "FailedCreatePodSandBox"

_CLAIM = re.compile(r'persistentvolumeclaims? "([^"]+)" not found')
_CONFIG_MAP = re.compile(r'configmap "([^"]+)" not found|references non-existent config key: (\S+)')
_SECRET = re.compile(r'secret "([^"]+)" not found')
_BACK_OFF = re.compile(r'^Back-off pulling image "[^"]*"(: )?(ErrImagePull: )?')
_POD_NAME = re.compile(r'^Error creating: pods "[^"]*" ')
"""Every try has another name; the message must not change with it."""
IMAGE_REASONS = ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ImageInspectError", "ErrImageNeverPull", "RegistryUnavailable")
_TEXT_LIMIT = 1024


@dataclass(frozen=True)
class Trouble:
    """Why nothing runs, and since when the evidence is there."""

    reason: Reason
    message: str
    since: datetime | None = None
    until: datetime | None = None
    """When the evidence is too old to be believed, unless it is repeated."""
    own_config_map: bool = False
    """Whether what is missing is the run's own document, which the operator can make again."""

    def patience_left(self, now: datetime) -> float:
        """Seconds before it is worth a person's attention; 0 when it is."""
        if self.since is None:
            return 0.0
        return max(0.0, (self.since + timedelta(seconds=PATIENCE_SECONDS) - now).total_seconds())


def trouble_of(
    job: Job, pod: Pod | None, warnings: tuple[WarningEvent, ...], spec: FineTuneJobSpec, run: CurrentRun, *, now: datetime
) -> Trouble | None:
    """What keeps the active attempt from running, or None."""
    if pod is not None and pod.running:
        return None
    if job.suspended:
        queue = f"queue {spec.queue_name}" if spec.queue_name else "whoever suspended the Job"
        return Trouble(Reason.QUEUED, f"waits for {queue} to admit Job {job.reference.name}")
    if pod is None:
        return _of_creation(job, warnings)
    fresh = now - timedelta(seconds=MOUNT_EVENT_SECONDS)
    mine = [e for e in warnings if e.last_seen > fresh and (e.regarding.uid == pod.reference.uid or e.regarding.name == pod.reference.name)]
    return _of_scheduling(pod, spec, job) or _of_image(pod, run.image) or _of_mounts(pod, mine, spec, run.name)


def _of_creation(job: Job, warnings: tuple[WarningEvent, ...]) -> Trouble | None:
    """No pod at all: the Job controller says why in an event about the Job."""
    newest = max((e for e in warnings if e.regarding.name == job.reference.name and e.reason == "FailedCreate"), key=_seen, default=None)
    if newest is None:
        return None
    evidence = of_creation(newest.message)
    quota = of_quota(evidence, "spec.resources")
    if quota is not None:
        return Trouble(Reason.QUOTA_EXCEEDED, quota)
    if "violates PodSecurity" in evidence:
        return Trouble(Reason.FORBIDDEN, f"{evidence}. Ask the platform team: the trainer's pods satisfy the level restricted.")
    return Trouble(Reason.FORBIDDEN, f"the cluster refuses the pod: {evidence}")


def of_creation(message: str) -> str:
    """Why a Job gets no pod, in words that stay the same while its controller tries again and again."""
    return _cut(_POD_NAME.sub("the pod ", message))


def of_quota(evidence: str, resources: str) -> str | None:
    """The refusal with what to do about it, where a quota is the reason; ``resources`` is the field that asks for less, empty for none."""
    if "exceeded quota" not in evidence and "must specify" not in evidence:
        return None
    return f"{evidence}. Free quota in this namespace{f', or ask for less in {resources}' if resources else ''}."


def missing_claim(evidence: str) -> str | None:
    """The claim that the scheduler, or a node, does not find."""
    found = _CLAIM.search(evidence)
    return found.group(1) if found is not None else None


def missing_secret(evidence: str) -> str | None:
    """The Secret that a node does not find."""
    found = _SECRET.search(evidence)
    return found.group(1) if found is not None else None


def missing_config_map(evidence: str) -> str | None:
    """The ConfigMap that a node does not find."""
    found = _CONFIG_MAP.search(evidence)
    return found.group(1) if found is not None else None


def of_claim(claim: str, field: str) -> str:
    """What to do about a claim that is not there; ``field`` is what names it."""
    return f"claim {claim} does not exist in this namespace. Create it, or correct {field}."


def _of_scheduling(pod: Pod, spec: FineTuneJobSpec, job: Job) -> Trouble | None:
    if pod.unscheduled is None or pod.node:
        return None
    evidence, since = _cut(pod.unscheduled.message), pod.unscheduled.since
    claim = missing_claim(evidence)
    if claim:
        field = field_of_claim(spec, claim)
        return Trouble(Reason.CLAIM_MISSING, f"{field}: {of_claim(claim, field)}")
    if "persistentvolumeclaim" in evidence.lower() or "volume" in evidence.lower():
        return Trouble(Reason.WAITING_FOR_VOLUME, f"{evidence} Check the claims and their storage class.", since)
    return Trouble(Reason.WAITING_FOR_NODE, f"waits for a node with {_wanted(spec, job)}: {evidence}", since)


def _wanted(spec: FineTuneJobSpec, job: Job) -> str:
    """What the pod asks of a node, in words."""
    if job.place.step != Step.TRAIN.value:
        return "room for a small CPU pod"
    resources = spec.resources
    parts = [f"{resources.gpus_per_node} x {resources.gpu_resource_name}"] if resources.gpus_per_node else []
    for amounts in (resources.requests or resources.limits,):
        parts += [f"{name} {amount}" for name, amount in amounts.to_manifest().items()] if amounts else []
    parts += [f"label {name}={value}" for name, value in resources.node_selector.items()]
    return ", ".join(parts) or "room for the train step's pod"


def _of_image(pod: Pod, image: str | None) -> Trouble | None:
    unpulled = of_image(pod, f"image {image}", "trainer")
    return Trouble(Reason.WAITING_FOR_IMAGE, unpulled) if unpulled is not None else None


def of_image(pod: Pod, name: str, whose: str) -> str | None:
    """Why the image cannot be pulled, and what to do about it; None where that is not what the pod waits for."""
    if pod.waiting_reason not in IMAGE_REASONS:
        return None
    # kubelet alternates between the failure and the back-off that quotes it: one text for both, or each turn would be a status write
    cause = _cut(_BACK_OFF.sub("", pod.waiting_message)) or pod.waiting_reason
    return f"{name} cannot be pulled: {cause}. Check the {whose} image and imagePullSecrets of the operator's installation."


def _of_mounts(pod: Pod, warnings: list[WarningEvent], spec: FineTuneJobSpec, run_name: str) -> Trouble | None:
    if pod.waiting_reason in ("CreateContainerConfigError", "CreateContainerError"):
        return _of_references(pod.waiting_message, spec, run_name) or Trouble(
            Reason.FORBIDDEN, f"the node refuses the container: {_cut(pod.waiting_message)}"
        )
    mounting = [e for e in warnings if e.reason in MOUNT_REASONS]
    newest = max(mounting, key=_seen, default=None)
    if newest is None:
        return None
    found = _of_references(newest.message, spec, run_name) or Trouble(
        Reason.WAITING_FOR_VOLUME, f"{_cut(newest.message)}. Check the claim and its storage class.", newest.last_seen
    )
    return replace(found, until=newest.last_seen + timedelta(seconds=MOUNT_EVENT_SECONDS))


def _of_references(evidence: str, spec: FineTuneJobSpec, run_name: str) -> Trouble | None:
    config_map, secret = _CONFIG_MAP.search(evidence), _SECRET.search(evidence)
    if secret:
        judge = spec.evaluation.judge
        of_judge = judge is not None and judge.credentials_secret_ref is not None and judge.credentials_secret_ref.name == secret.group(1)
        field = "spec.evaluation.judge.credentialsSecretRef" if of_judge else "spec.baseModel.credentialsSecretRef"
        return Trouble(
            Reason.SECRET_MISSING, f"{field}: Secret {secret.group(1)} does not exist. Create it with the key token, or correct the field."
        )
    if config_map and config_map.group(1) == run_name:
        return Trouble(
            Reason.CONFIG_MAP_MISSING,
            f"the run's own ConfigMap {run_name} was deleted; it is being created again",
            own_config_map=True,
        )
    if config_map:
        field = "spec.task.outputSchema.configMapRef"
        reference = spec.task.output_schema.config_map_ref if spec.task.output_schema else None
        wanted = f"ConfigMap {reference.name} with the key {reference.key}" if reference else "the ConfigMap"
        return Trouble(Reason.CONFIG_MAP_MISSING, f"{field}: {wanted} does not exist. Create it, or correct the field.")
    return None


def _seen(event: WarningEvent) -> datetime:
    return event.last_seen


def _cut(evidence: str) -> str:
    return evidence.strip().rstrip(".")[:_TEXT_LIMIT]
