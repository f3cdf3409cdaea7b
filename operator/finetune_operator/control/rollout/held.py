"""What an agent says, as decisions read it."""

from typing import Final

from finetune_inference.contract import AgentStatus, VersionState, VersionStatus
from finetune_operator.domain.rollout.engines import ENGINE_REFUSES, NO_EFFECT, REFUSALS
from finetune_operator.domain.rollout.observed import HeldState, HeldVersion

FINAL: Final = frozenset(
    {
        *(
            "SchemeUnsupported",
            "UriInvalid",
            "DigestMismatch",
            "SymlinkRefused",
            "SpecialFileRefused",
            "PickleRefused",
            "RemoteCodeRefused",
        ),
        *("FileUnexpected", "TooManyFiles", "TooLarge", "FileUnreadable", "WeightsDamaged", "WeightsMissing", "NotAnAdapter"),
        *("PeftTypeUnsupported", "TaskUnsupported", "RankTooHigh", "RankInvalid", "DoraUnsupported", "VariantUnsupported"),
        *("InitialisationUnsupported", "BiasUnsupported", "ExtraModulesSaved", "TargetModuleUnknown", "ShapeMismatch", "TensorUnknown"),
        *(
            "Unverified",
            "AdapterNotCleared",
            "TensorsUnpaired",
            "RankMismatch",
            "BaseMismatch",
            "TokenizerMismatch",
            "TemplateMismatch",
            "RecordMismatch",
        ),
    }
)
"""What lies in the artifact or its URI, so that no waiting helps. All else may be the pod's, the volume's or the engine's matter."""


def held_versions(status: AgentStatus) -> tuple[HeldVersion, ...]:
    """Every version that the agent speaks about."""
    return tuple(_held(version) for version in status.versions)


def _held(version: VersionStatus) -> HeldVersion:
    message = " ".join(part for part in (version.message, version.way_out) if part)
    return HeldVersion(
        version=version.name,
        state=_state(version),
        reason=version.reason or "",
        message=message,
        has_effect=_effect(version),
        fingerprint=tuple(version.fingerprint),
    )


def _state(version: VersionStatus) -> HeldState:
    if version.state is VersionState.LOADED:
        return HeldState.LOADED
    if version.state is not VersionState.FAILED:
        return HeldState.LOADING
    refused = version.reason == ENGINE_REFUSES and version.failures >= REFUSALS
    return HeldState.REJECTED if refused or version.reason in FINAL else HeldState.RETRYING


def _effect(version: VersionStatus) -> bool | None:
    """An agent calls a version loaded only once it has seen it make a difference."""
    if version.state is VersionState.LOADED:
        return True
    return False if version.state is VersionState.FAILED and version.reason == NO_EFFECT else None
