"""What is known of an engine of the user's own, and what a deployment wants it to hold, as values.

The files of such an engine lie where it sees them and the operator does not: a version is a name and a path that carries its digest.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime

from finetune_inference.contract import Finding
from finetune_operator.api.adapterdeployment.spec import AdapterDeploymentSpec, ExternalServer
from finetune_operator.api.adapterdeployment.status import AdapterDeploymentStatus, Stage
from finetune_operator.api.uris import HUB_SCHEME, volume_path

ENGINE_REFUSES = "LoadRefused"
REFUSALS = 3
"""So many refusals of the engine in a row are its last word; the first may be a matter of memory."""
NO_EFFECT = "NoEffect"
_PROVEN_STAGES = (Stage.APPLYING, Stage.BAKING, Stage.PROMOTING, Stage.ROLLING_BACK)


@dataclass(frozen=True)
class Listed:
    """An entry of the engine's model list. ``root`` is where its weights came from; adapters have a ``parent``."""

    name: str
    root: str = ""
    parent: str | None = None


@dataclass(frozen=True)
class EngineView:
    """One look at an engine. ``started`` identifies its process, empty where it does not say; ``trouble``: why it is not reachable."""

    reachable: bool
    started: str = ""
    models: tuple[Listed, ...] = ()
    trouble: Finding | None = None

    def model(self, name: str) -> Listed | None:
        return next((model for model in self.models if model.name == name), None)

    @property
    def adapters(self) -> tuple[Listed, ...]:
        return tuple(model for model in self.models if model.parent is not None)

    def base(self, name: str) -> Listed | None:
        """The base model that is served as ``name`` or loaded from there; any for an empty name."""
        return next((model for model in self.models if model.parent is None and (not name or name in (model.name, model.root))), None)


UNSEEN = EngineView(reachable=False)


@dataclass(frozen=True)
class Failure:
    """Of one version in one pod. ``basis`` is what was tried: a failure no longer counts once something else is wanted."""

    basis: str
    finding: Finding
    count: int
    retry_at: datetime
    withdraw: bool = False
    """Whether the engine must not keep what it has of this version."""


@dataclass(frozen=True)
class Known:
    """What was done with one version in one pod; ``proven`` is the engine's start in which it was seen to make a difference."""

    proven: str | None = None
    failure: Failure | None = None


Knowledge = Mapping[str, Known]


@dataclass(frozen=True)
class WantedVersion:
    """``attempt`` differs between two rollouts of one version: what failed in the first does not count in the second."""

    name: str
    path: str
    attempt: str = ""


@dataclass(frozen=True)
class PushTarget:
    """What every engine of a deployment is to hold, in this order.

    ``begun``: a status has named what is wanted; before that nothing is loaded, and nothing unloaded that an earlier object left there.
    ``base`` is what the engine has to call its base model, or load it from; empty where that is not known. ``spared`` are versions that
    other deployments want of the same engines. ``trusted`` have been proven before, as status says: with traffic they count as held as soon
    as the engine lists them, since routers ask it just that.
    """

    alias: str
    versions: tuple[WantedVersion, ...]
    begun: bool = True
    base: str = ""
    prove: bool = True
    slots: int = 8
    spared: frozenset[str] = frozenset()
    trusted: frozenset[str] = frozenset()

    def basis(self, version: WantedVersion) -> str:
        return f"{version.path} {version.attempt} {self.base} {self.prove}"


def push_target(
    spec: AdapterDeploymentSpec, external: ExternalServer, status: AdapterDeploymentStatus, spared: Collection[str], now: datetime
) -> PushTarget:
    """From what is stored: nothing is pushed that a status does not name."""
    wanted = status.desired.versions if status.desired is not None else []
    versions = tuple(
        WantedVersion(version.name, engine_path(external.adapter_mount_path, version.uri), _attempt(status, version.name))
        for version in wanted
        if version.keep_until is None or now < version.keep_until
    )
    return PushTarget(
        alias=spec.model_name,
        versions=versions,
        begun=status.desired is not None,
        base=external.base_model_name or _hub_name(spec.base_model.uri),
        prove=spec.preflight.effect_probe == "Enforce",
        slots=spec.server.capacity.max_cpu_loras,
        spared=frozenset(spared),
        trusted=_trusted(status),
    )


def engine_path(mount: str, uri: str) -> str:
    """Where the engine sees ``pvc://CLAIM/PATH``. Raises ``ValueError`` for a malformed URI."""
    place = volume_path(uri)
    return f"{mount}/{place.path}" if place is not None else ""


def _attempt(status: AdapterDeploymentStatus, version: str) -> str:
    rollout = status.rollout
    return rollout.started_at.isoformat() if rollout is not None and rollout.version == version else ""


def _hub_name(uri: str) -> str:
    return uri.removeprefix(HUB_SCHEME).partition("@")[0] if uri.startswith(HUB_SCHEME) else ""


def _trusted(status: AdapterDeploymentStatus) -> frozenset[str]:
    rollout = status.rollout
    names = [status.stable.version] if status.stable is not None else []
    names += [rollout.version] if rollout is not None and rollout.stage in _PROVEN_STAGES else []
    return frozenset([*names, *(kept.version for kept in status.retained)])
