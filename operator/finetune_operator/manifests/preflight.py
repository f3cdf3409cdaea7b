"""The container that goes before a governed pod's own: it finds out whether the step may begin there, and mounts no data.

kubelet mounts volumes into containers one by one: what this container does not mount is nowhere in its reach, and the trainer's container
starts only when it has ended well.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from finetune_operator.api.base import ANNOTATION_ORDER
from finetune_operator.manifests.egressprobe import EgressProbe, probe_arguments
from finetune_operator.manifests.security import container_security
from finetune_trainer.contract import ORDER_PATH, PREFLIGHT_STEP, RUN_SPEC_PATH, digest_of

PREFLIGHT_CONTAINER = "preflight"
_RESOURCES = {"requests": {"cpu": "50m", "memory": "128Mi"}}
_NODE = "NODE_NAME"
_FOLDER, _FILE = ORDER_PATH.rsplit("/", 1)


@dataclass(frozen=True)
class GivenOrder:
    """By what a pod is let begin, as text: an annotation that the pod reads as a file, without another object to write.

    All annotations of an object together may hold 256 KiB. The command line names the digest of the text: unlike annotations, a container's
    arguments can be changed by nobody once there is a pod.
    """

    text: str

    @property
    def annotations(self) -> Mapping[str, str]:
        return {ANNOTATION_ORDER: self.text}

    @property
    def volume(self) -> dict[str, Any]:
        item = {"path": _FILE, "fieldRef": {"fieldPath": f"metadata.annotations['{ANNOTATION_ORDER}']"}}
        return {"name": "order", "downwardAPI": {"items": [item]}}

    @property
    def arguments(self) -> list[str]:
        return ["--spec", RUN_SPEC_PATH, "--order-digest", digest_of(self.text.encode("utf-8", "surrogatepass")), "--node", f"$({_NODE})"]


def build_preflight(probe: EgressProbe | None, order: GivenOrder | None, image: str, pull_policy: str) -> dict[str, Any]:
    """The init container; ``order`` is None for what has nothing to do with data of a step."""
    container: dict[str, Any] = {
        "name": PREFLIGHT_CONTAINER,
        "image": image,
        "imagePullPolicy": pull_policy,
        "command": ["finetune-trainer"],
        "args": [PREFLIGHT_STEP, *(order.arguments if order is not None else []), *(probe_arguments(probe) if probe is not None else [])],
        "resources": _RESOURCES,
        "terminationMessagePolicy": "File",
        "securityContext": container_security(),
    }
    if order is not None:
        container["env"] = [{"name": _NODE, "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}]
        mounts = {"run": RUN_SPEC_PATH.rsplit("/", 1)[0], "order": _FOLDER}
        container["volumeMounts"] = [{"name": name, "mountPath": path, "readOnly": True} for name, path in mounts.items()]
    return container
