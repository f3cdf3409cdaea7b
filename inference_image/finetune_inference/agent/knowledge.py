"""What the agent knows, as values: of the engine by looking at it, of each version by what was done and how it ended."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import PurePosixPath

from finetune_inference.contract import DesiredSet, DesiredVersion, Finding, FingerprintToken
from finetune_inference.engine import ServedModel
from finetune_trainer.contract import Digest, canonical_json, digest_of


class Stage(StrEnum):
    """Which step a failure belongs to; success of that very step clears it."""

    FETCH = "Fetch"
    LOAD = "Load"
    PROVE = "Prove"


@dataclass(frozen=True)
class Failure:
    """``basis`` is what was tried: when the version, base or engine asked for changes, a failure no longer counts.

    ``withdraw``: the engine must not keep what it has of this version.
    """

    stage: Stage
    basis: str
    finding: Finding
    count: int
    retry_at: datetime
    findings: tuple[Finding, ...] = ()
    withdraw: bool = False


@dataclass(frozen=True)
class Progress:
    """``checked`` is the basis on which the files were hashed and found compatible, ``proven`` the engine start in which the effect was."""

    checked: str | None = None
    proven: str | None = None
    failure: Failure | None = None
    loaded_at: datetime | None = None
    fingerprint: tuple[FingerprintToken, ...] = ()
    effect: float | None = None


UNKNOWN_START = "unknown"


@dataclass(frozen=True)
class EngineView:
    """One look at the engine. ``started`` identifies its process; `UNKNOWN_START` where it does not say."""

    reachable: bool
    started: str = UNKNOWN_START
    models: tuple[ServedModel, ...] = ()
    finding: Finding | None = None

    def model(self, name: str) -> ServedModel | None:
        return next((model for model in self.models if model.name == name), None)

    def base(self, name: str) -> ServedModel | None:
        """The base model that is served as ``name``, or comes from there."""
        return next((model for model in self.models if model.parent is None and name in {model.name, model.root}), None)


@dataclass(frozen=True)
class Observed:
    """``fetching`` and ``loading`` name the versions that are being worked on; ``held`` are the digests in the store.

    ``merged`` is where the engine sees the merged model that is all it serves; None for an engine that loads adapters.
    ``no_unload_before``: the engine has refused to unload, and is left alone with it until then.
    """

    engine: EngineView
    store: PurePosixPath
    progress: Mapping[str, Progress] = field(default_factory=dict)
    held: frozenset[Digest] = frozenset()
    fetching: str | None = None
    loading: str | None = None
    collecting: bool = False
    no_unload_before: datetime | None = None
    merged: str | None = None

    def of(self, version: DesiredVersion) -> Progress:
        return self.progress.get(version.name, Progress())

    def path(self, digest: Digest) -> str:
        """Where the engine sees an artifact."""
        return self.merged if self.merged is not None else str(self.store / digest.removeprefix("sha256:"))

    def in_place(self, version: DesiredVersion) -> bool:
        """Whether the engine lists the version with the files that the digest names."""
        model = self.engine.model(version.name)
        return model is not None and model.root == self.path(version.digest)

    def proven(self, version: DesiredVersion) -> bool:
        """Whether the version is in this engine process and was seen to make a difference there."""
        return self.in_place(version) and self.of(version).proven == self.engine.started


def basis_of(version: DesiredVersion, desired: DesiredSet) -> str:
    """What a check or a failure of this version depends on."""
    asked = {"version": version.digest, "uri": version.uri, "base": desired.base.to_json(), "engine": desired.engine.to_json()}
    if not desired.require_effect:
        asked["effect"] = "any"
    proof = desired.proof_of(version)
    if proof is not None:
        asked["proof"] = proof.model_copy(update={"versions": []}).to_json()
    return digest_of(canonical_json(asked).encode())


def active_failure(progress: Progress, basis: str) -> Failure | None:
    """The version's failure, if it still counts."""
    return progress.failure if progress.failure is not None and progress.failure.basis == basis else None


def split_by_slots(observed: Observed, desired: DesiredSet, now: datetime) -> tuple[tuple[DesiredVersion, ...], tuple[DesiredVersion, ...]]:
    """The wanted versions that the engine has room for, in order, and the rest. Those that have served keep their place."""
    wanted, slots = desired.wanted(now), desired.engine.limits.max_cpu_loras
    newcomers = [version for version in wanted if not (observed.in_place(version) or observed.of(version).proven)]
    room = max(0, slots - (len(wanted) - len(newcomers)))
    left_out = {version.name for version in newcomers[room:]}
    fitting = tuple(version for version in wanted if version.name not in left_out)[:slots]
    return fitting, tuple(version for version in wanted if version not in fitting)
