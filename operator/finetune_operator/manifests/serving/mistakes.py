"""What a managed server cannot be made from, though every field for itself is right."""

from dataclasses import dataclass

from finetune_operator.api.adapterdeployment.spec import AdapterDeploymentSpec, Engine, ManagedServer
from finetune_operator.api.uris import volume_path
from finetune_operator.manifests.serving.settings import ServingSettings


@dataclass(frozen=True)
class ServerMistake:
    """The field, and a sentence with the remedy."""

    field: str
    message: str


def server_mistake(spec: AdapterDeploymentSpec, settings: ServingSettings) -> ServerMistake | None:
    """Why `server_objects` has nothing for a managed server; None where it has, and for servers of the user's own.

    A base model from the hub would be fetched anew by each pod, from pods that otherwise need no way out of the cluster, and its digest
    would be known to nobody beforehand. So it is put on a claim once.
    """
    managed = spec.server.managed
    if managed is None:
        return None
    if volume_path(spec.base_model.uri) is None:
        text = f"spec.baseModel.uri {spec.base_model.uri} is not on a claim. Copy the model to one, and name it as pvc://CLAIM/PATH."
        return ServerMistake("spec.baseModel.uri", text)
    if not engine_image(managed, settings):
        text = "spec.server.managed.image is not set, and this installation has no image for vLLM. Set it, or choose engine: Transformers."
        return ServerMistake("spec.server.managed.image", text)
    return None


def engine_image(managed: ManagedServer, settings: ServingSettings) -> str:
    """The image the spec names, else the installation's for that engine; empty where there is neither."""
    return managed.image or (settings.default_vllm_image if managed.engine is Engine.VLLM else settings.inference_image)
