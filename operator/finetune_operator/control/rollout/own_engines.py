"""The engines of one deployment whose server the user runs himself: what they are to hold, and what they are asked for."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from pydantic import ValidationError

from finetune_operator.api.adapterdeployment.spec import AdapterDeploymentSpec
from finetune_operator.api.adapterdeployment.status import AdapterDeploymentStatus
from finetune_operator.cluster.kube import Manifest
from finetune_operator.control.rollout.pushing import Pushes
from finetune_operator.domain.rollout.engines import PushTarget, push_target
from finetune_operator.domain.rollout.observed import ServerPod


@dataclass(frozen=True)
class OwnEngines:
    """``target`` follows from what is stored: it names nothing before a status does."""

    pushes: Pushes
    port: int
    target: PushTarget

    def server_pod(self, pod: Manifest) -> ServerPod:
        return self.pushes.server_pod(pod, self.port, self.target)


def own_engines(pushes: Pushes, resource: Manifest, spared: Collection[str], now: datetime) -> OwnEngines | None:
    """None for a managed server, and for an object that cannot be read: engines then keep what they have."""
    try:
        spec = AdapterDeploymentSpec.model_validate(resource.get("spec"))
        status = AdapterDeploymentStatus.model_validate(resource.get("status") or {})
    except ValidationError:
        return None  # the decision says so in the status
    external = spec.server.external
    if external is None:
        return None
    return OwnEngines(pushes, external.port, push_target(spec, external, status, spared, now))
