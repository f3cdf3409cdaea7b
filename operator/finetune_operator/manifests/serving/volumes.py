"""What the containers of a server pod see of the outside: claims read-only, the agent's store, and the token that the agent alone holds.

Every claim is one volume of the pod, however often it is mounted. Both containers see the whole claim of the base model, since the links in
a hub's cache lead out of the model's folder; claims of adapters are the agent's alone, who copies what is wanted into the store.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from finetune_inference.contract import digest_prefix_of
from finetune_operator.api.adapterdeployment.spec import AdapterDeploymentSpec
from finetune_operator.api.uris import volume_path
from finetune_operator.manifests.serving.settings import JsonObject
from finetune_trainer.contract import BASE_MOUNT

STORE = "/var/lib/finetune/store"
STATE = "/var/lib/finetune/state"
TEMPORARY = "/tmp"  # noqa: S108  the container's own, root is read-only
CLAIMS = "/mnt/claims"
MERGED = "/mnt/merged"
_MERGED_VOLUME = "merged"
TOKEN = "/var/run/secrets/kubernetes.io/serviceaccount"  # noqa: S105  a path
TOKEN_SECONDS = 3607
"""Life of the token; the kubelet renews it before. The odd number is what the API server itself asks for."""


@dataclass(frozen=True)
class ServerClaims:
    """``base_path`` is where the base model lies in both containers; ``adapters`` the claims that adapters come from."""

    base: str
    base_path: str
    adapters: tuple[str, ...]

    def volume_of(self, claim: str) -> str:
        """The pod's name for a claim."""
        return f"claim-{sorted({self.base, *self.adapters}).index(claim) + 1}"


@dataclass(frozen=True)
class MergedModel:
    """A version's merged model: its folder ``path`` on the claim, and where both containers see it.

    The name of that place holds the digits of the version, by which a router knows that the engine serves what its name promises.
    """

    version: str
    claim: str
    path: str

    @property
    def base_path(self) -> str:
        return f"{MERGED}/{digest_prefix_of(self.version)}"

    @property
    def meta_path(self) -> str:
        """Where the agent sees what describes the model."""
        return f"{self.base_path}.meta"


def merged_model(version: str, uri: str) -> MergedModel:
    """``uri`` is ``pvc://CLAIM/PATH/<digest hex>``."""
    place = volume_path(uri)
    assert place is not None, "status holds what the schema admits"
    return MergedModel(version, place.claim, place.path)


def server_claims(spec: AdapterDeploymentSpec, further: Sequence[str]) -> ServerClaims:
    """Which claims the pods of a managed server mount, in an order that does not depend on that of ``further``."""
    base = volume_path(spec.base_model.uri)
    assert base is not None, "a managed server has its base model on a claim"
    adapter = volume_path(spec.adapter.uri) if spec.adapter.uri else None
    adapters = {*further, *([adapter.claim] if adapter else [])}
    return ServerClaims(base.claim, f"{BASE_MOUNT}/{base.path}", tuple(sorted(adapters)))


def server_volumes(claims: ServerClaims | MergedModel, *, shared_memory: bool) -> list[JsonObject]:
    """Volumes of the pod."""
    if isinstance(claims, MergedModel):
        named = {_MERGED_VOLUME: claims.claim}
    else:
        named = {claims.volume_of(name): name for name in sorted({claims.base, *claims.adapters})}
    volumes: list[JsonObject] = [
        {"name": volume, "persistentVolumeClaim": {"claimName": claim, "readOnly": True}} for volume, claim in named.items()
    ]
    volumes += [{"name": name, "emptyDir": {}} for name in ("store", "state", "engine-tmp", "agent-tmp")]
    if shared_memory:
        volumes.append({"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "2Gi"}})
    return [*volumes, token_volume()]


def engine_mounts(claims: ServerClaims | MergedModel, *, shared_memory: bool) -> list[JsonObject]:
    """The base model and the store, or the merged model; none of them to be written."""
    if isinstance(claims, MergedModel):
        mounts = [_folder_mount(claims.path, claims.base_path), _mount("engine-tmp", TEMPORARY)]
    else:
        mounts = [_base_mount(claims), _mount("store", STORE, read_only=True), _mount("engine-tmp", TEMPORARY)]
    return [*mounts, _mount("shm", "/dev/shm")] if shared_memory else mounts  # noqa: S108  no file


def agent_mounts(claims: ServerClaims | MergedModel) -> list[JsonObject]:
    """All claims, the store and the state to write, and the token."""
    if isinstance(claims, MergedModel):
        model = [_folder_mount(claims.path, claims.base_path), _folder_mount(f"{claims.path}.meta", claims.meta_path)]
        return [*model, _mount("store", STORE), _mount("state", STATE), _mount("agent-tmp", TEMPORARY), token_mount()]
    adapters = [_mount(claims.volume_of(name), claim_folder(name), read_only=True) for name in claims.adapters]
    folders = [_mount("store", STORE), _mount("state", STATE), _mount("agent-tmp", TEMPORARY)]
    return [_base_mount(claims), *adapters, *folders, token_mount()]


def claim_folder(claim: str) -> str:
    """Where the agent sees an adapter's claim."""
    return f"{CLAIMS}/{claim}"


def token_volume() -> JsonObject:
    """The API token, the authority's certificate and the namespace, as every client in a pod expects them."""
    sources = [
        {"serviceAccountToken": {"path": "token", "expirationSeconds": TOKEN_SECONDS}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}]}},
    ]
    return {"name": "token", "projected": {"sources": sources, "defaultMode": 0o440}}


def token_mount() -> JsonObject:
    """For the one container that talks to the API server."""
    return _mount("token", TOKEN, read_only=True)


def _base_mount(claims: ServerClaims) -> JsonObject:
    return _mount(claims.volume_of(claims.base), BASE_MOUNT, read_only=True)


def _folder_mount(path: str, where: str) -> JsonObject:
    return {**_mount(_MERGED_VOLUME, where, read_only=True), "subPath": path}


def _mount(volume: str, path: str, *, read_only: bool = False) -> JsonObject:
    return {"name": volume, "mountPath": path, **({"readOnly": True} if read_only else {})}
