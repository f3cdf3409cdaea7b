"""What is kept of an object that belongs to others: a tenth of it, in the shape Kubernetes gives it.

A projection never fails on an odd object; what is missing stays missing. Pod specs and managed fields are most of the bytes, and no
decision reads them.
"""

import re
from typing import Any, Final

from finetune_operator.api.base import GROUP
from finetune_operator.cluster.kube import Manifest

OUR_CHILD: Final = re.compile(r"-[0-9a-f]{10}-(prepare|train|publish|clean|check|merge)-\d+")
"""How Jobs and pods of a run are called; the only thing an Event tells about whether it concerns us."""

_SERVING: Final = re.compile(r"^(server|finetune-router)-")
_BEFORE_START: Final = ("FailedMount", "FailedAttachVolume", "FailedMapVolume", "FailedCreatePodSandBox")
"""All that is kept of what is said about pods that serve: of what else goes wrong with one its own status tells."""

CONTAINERS: Final = ("initContainerStatuses", "containerStatuses")
"""In the order in which they start; the agent of a server pod is among the first."""
REPLICA_FAILURE: Final = "ReplicaFailure"
"""Condition of a Deployment: the API server takes no pod of its ReplicaSet; the message quotes it."""
EVENT_MESSAGE_LIMIT: Final = 1024
_LABELS = (f"{GROUP}/", "app.kubernetes.io/")
_JOB_STATUS = ("active", "ready", "succeeded", "failed", "terminating", "startTime", "completionTime", "conditions")
_CONDITION = ("type", "status", "reason", "message", "lastTransitionTime")
_STATE = ("reason", "message", "exitCode", "signal", "startedAt", "finishedAt")


def project_job(manifest: Manifest) -> Manifest | None:
    spec = manifest.get("spec") or {}
    return {
        **_header(manifest),
        "spec": _pick(spec, "suspend"),
        "status": _pick(manifest.get("status") or {}, *_JOB_STATUS),
    }


def project_pod(manifest: Manifest) -> Manifest | None:
    spec = manifest.get("spec") or {}
    status = manifest.get("status") or {}
    return {
        **_header(manifest),
        "spec": _pick(spec, "nodeName"),
        "status": {
            **_pick(status, "phase", "reason", "message", "podIP", "startTime"),
            "conditions": [_pick(condition, *_CONDITION) for condition in status.get("conditions") or []],
            **{kind: [_container(container) for container in status.get(kind) or []] for kind in CONTAINERS},
        },
    }


def project_deployment(manifest: Manifest) -> Manifest | None:
    """Of how it stands only why no pods can be made for it: all else is told by its pods."""
    conditions = (manifest.get("status") or {}).get("conditions") or []
    failed = [_pick(each, *_CONDITION) for each in conditions if each.get("type") == REPLICA_FAILURE and each.get("status") == "True"]
    return {**_header(manifest), "status": {"conditions": failed}}


def project_event(manifest: Manifest) -> Manifest | None:
    """Warnings about our Jobs and pods; everything else in the cluster is not kept at all."""
    regarding = manifest.get("involvedObject") or {}
    name = str(regarding.get("name") or "")
    ours = OUR_CHILD.search(name) or (manifest.get("reason") in _BEFORE_START and _SERVING.match(name))
    if manifest.get("type") != "Warning" or not ours:
        return None
    metadata = manifest["metadata"]
    series = manifest.get("series") or {}
    seen = series.get("lastObservedTime") or manifest.get("lastTimestamp") or manifest.get("eventTime") or metadata.get("creationTimestamp")
    return {
        "metadata": _pick(metadata, "name", "namespace", "uid", "resourceVersion"),
        "involvedObject": _pick(regarding, "apiVersion", "kind", "namespace", "name", "uid"),
        "reason": str(manifest.get("reason") or "")[:128],
        "message": str(manifest.get("message") or "")[:EVENT_MESSAGE_LIMIT],
        "lastSeen": seen,
    }


def _header(manifest: Manifest) -> Manifest:
    metadata = manifest["metadata"]
    labels = metadata.get("labels") or {}
    return {
        "apiVersion": manifest.get("apiVersion"),
        "kind": manifest.get("kind"),
        "metadata": {
            **_pick(metadata, "name", "namespace", "uid", "resourceVersion", "generation", "creationTimestamp", "deletionTimestamp"),
            "labels": {key: value for key, value in labels.items() if key.startswith(_LABELS)},
            "ownerReferences": [
                _pick(reference, "apiVersion", "kind", "name", "uid", "controller") for reference in metadata.get("ownerReferences") or []
            ],
        },
    }


def _container(status: Manifest) -> Manifest:
    return {
        **_pick(status, "name", "ready", "started", "restartCount", "image", "imageID"),
        "state": _state(status.get("state")),
        "lastState": _state(status.get("lastState")),
    }


def _state(state: Any) -> Manifest:
    return {name: _pick(detail or {}, *_STATE) for name, detail in (state or {}).items()}


def _pick(mapping: Manifest, *names: str) -> Manifest:
    return {name: mapping[name] for name in names if name in mapping}
