"""A Job of one attempt before there are servers, whatever it does: created once, never changed, tried again only by the operator."""

from collections.abc import Sequence

from finetune_operator.api.adapterdeployment.spec import AdapterDeploymentSpec
from finetune_operator.api.base import LABEL_ATTEMPT, LABEL_DEPLOYMENT, LABEL_RUN, LABEL_SERVING_ROLE, LABEL_STEP
from finetune_operator.manifests.names import Owner, job_name, label_value, run_hash, run_name
from finetune_operator.manifests.security import pod_security
from finetune_operator.manifests.serving.labels import common_labels, owned_metadata
from finetune_operator.manifests.serving.settings import JsonObject, ServingSettings


def build_job(owner: Owner, role: str, pod: JsonObject, settings: ServingSettings, *, identity: str, attempt: int) -> JsonObject:
    """``identity`` tells this from all other work of the same role; attempts are counted from 1."""
    labels = {
        **common_labels(role),
        LABEL_SERVING_ROLE: role,
        LABEL_DEPLOYMENT: label_value(owner.name),
        LABEL_RUN: run_hash(owner.uid, identity),
        LABEL_STEP: role,
        LABEL_ATTEMPT: str(attempt),
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": owned_metadata(owner, job_name(run_name(owner, identity), role, attempt), labels),
        "spec": {
            "completions": 1,
            "parallelism": 1,
            "podReplacementPolicy": "Failed",
            "backoffLimit": 0,
            "ttlSecondsAfterFinished": settings.finished_job_ttl_seconds,
            "template": {"metadata": {"labels": labels}, "spec": pod},
        },
    }


def build_pod(
    container: JsonObject, volumes: Sequence[JsonObject], spec: AdapterDeploymentSpec, settings: ServingSettings, *, grace_seconds: int
) -> JsonObject:
    """A restricted pod without rights. It may run wherever the servers may, since there may be no other node; but it need not run there."""
    pod: JsonObject = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": grace_seconds,
        "securityContext": pod_security(),
        "containers": [container],
        "volumes": [*volumes, {"name": "tmp", "emptyDir": {}}],
    }
    if settings.image_pull_secrets:
        pod["imagePullSecrets"] = [{"name": name} for name in settings.image_pull_secrets]
    managed = spec.server.managed
    if managed is not None and managed.resources.tolerations:
        pod["tolerations"] = [toleration.to_manifest() for toleration in managed.resources.tolerations]
    return pod
