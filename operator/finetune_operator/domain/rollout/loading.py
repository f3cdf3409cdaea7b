"""What the server pods hold: whether a version is everywhere, what speaks against it, and whether there is room for one more."""

from collections.abc import Iterator
from dataclasses import dataclass

from finetune_inference.contract import digest_prefix_of
from finetune_operator.api.adapterdeployment.reasons import Reason
from finetune_operator.api.adapterdeployment.status import RetainedVersion
from finetune_operator.domain.rollout.draft import Draft
from finetune_operator.domain.rollout.observed import HeldState, HeldVersion, ServerPod, Sibling

_SHOWN = 3
_OF_GOVERNANCE = (Reason.UNVERIFIED.value, Reason.ADAPTER_NOT_CLEARED.value)
"""What an agent says of an adapter whose record it was ordered to verify."""


def holds(pod: ServerPod, version: str) -> bool:
    held = pod.held(version)
    return held is not None and held.state is HeldState.LOADED


def pods_of(draft: Draft, version: str) -> tuple[ServerPod, ...]:
    """The pods that are to hold the version: all, or in mode Merged its own."""
    return tuple(pod for pod in draft.scene.observed.pods if concerns(pod, version))


def concerns(pod: ServerPod, version: str) -> bool:
    return pod.serves in ("", digest_prefix_of(version))


def everywhere(draft: Draft, version: str) -> bool:
    """Whether every pod that should hold this version and stable does, and there are such pods at all.

    Pods of a version's own appear one by one while its servers are being made: there have to be as many as are asked for.
    """
    managed = draft.scene.spec.server.managed
    least = max(1, managed.replicas) if managed is not None and draft.scene.spec.merged else 1
    for wanted in (version, *([draft.stable.version] if draft.stable is not None else [])):
        pods = pods_of(draft, wanted)
        if len(pods) < least or not all(holds(pod, wanted) for pod in pods):
            return False
    return True


def refusal(draft: Draft, version: str) -> tuple[Reason, str] | None:
    """What a pod says finally against the version; the message has the field and the way out."""
    for pod, held in _held(draft, version):
        if held.state is HeldState.REJECTED:
            reason = Reason(held.reason) if held.reason in _OF_GOVERNANCE else Reason.LOAD_FAILED
            return reason, f"pod {pod.name} refuses {version}: {held.reason or 'no reason given'}: {held.message}"
        if held.has_effect is False and draft.scene.spec.preflight.effect_probe == "Enforce":
            return Reason.NO_EFFECT, f"pod {pod.name}: {version} changes no answer of the base model. Was it trained on this one?"
    return None


def missing(draft: Draft, version: str) -> str:
    """Which pods do not hold the version yet, and what they say."""
    pods = pods_of(draft, version)
    if not pods:
        return f"no server pod of {version} is there yet"
    waiting = [_in_words(pod, version) for pod in pods if not holds(pod, version)]
    more = f" and {len(waiting) - _SHOWN} more" if len(waiting) > _SHOWN else ""
    return f"{len(waiting)} of {len(pods)} pods do not hold {version} yet: {', '.join(waiting[:_SHOWN])}{more}"


def in_the_way(draft: Draft, version: str) -> str | None:
    """What the first pod says that tries in vain, or what keeps it from running, for people; None where all is on its way."""
    for pod, held in _held(draft, version):
        if held.state is HeldState.RETRYING and held.reason:
            return f"pod {pod.name} does not hold {version} yet: {held.reason}: {held.message}"
    troubled = next((pod for pod in pods_of(draft, version) if pod.trouble and not holds(pod, version)), None)
    if troubled is not None:
        return f"pod {troubled.name} does not hold {version} yet: {troubled.trouble}"
    return unmade(draft, version) or None


def unmade(draft: Draft, version: str) -> str:
    """Why pods that are to hold the version cannot be made; empty where they can."""
    wanted = ("", digest_prefix_of(version))
    return next((each.why for each in draft.scene.observed.unmade if each.serves in wanted), "")


def what_a_pod_says(draft: Draft, version: str) -> str | None:
    """Why the version is not everywhere, by the first pod that refuses it, else the first that tries in vain; None where none does."""
    refused = refusal(draft, version)
    return refused[1] if refused is not None else in_the_way(draft, version)


@dataclass(frozen=True)
class Shortage:
    """Why there is no room, with the numbers; ``goes`` are former versions that make enough of it by going, if any do."""

    words: str
    goes: tuple[RetainedVersion, ...] = ()


def lack_of_room(draft: Draft) -> Shortage | None:
    """Why the engines cannot hold one version more, or not compute it beside the others; None where they can."""
    if draft.scene.spec.merged:
        return None
    crowd = _lack_of_batches(draft)
    return _lack_of_memory(draft, crowd is None) or crowd


def _lack_of_memory(draft: Draft, alone: bool) -> Shortage | None:
    """``alone``: nothing else is in the way, so that it helps if versions go: first those that never were stable, then the oldest."""
    observed, most = draft.scene.observed, draft.scene.spec.server.capacity.max_cpu_loras
    own = len(_stable(draft) | {retained.version for retained in draft.retained})
    kept, foreign = sum(sibling.versions for sibling in _neighbours(draft)), max((pod.others for pod in observed.pods), default=0)
    wanted = own + kept + foreign + 1
    if wanted <= most:
        return None
    parts = f"{own} of this object, {kept} of others" + (f", {foreign} that nobody here has loaded" if foreign else "")
    words = f"one version more would make {wanted} on each pod ({parts}), and spec.server.capacity.maxCpuLoras is {most}"
    waiting = sorted(draft.retained, key=lambda each: (each.served, each.until))
    if alone and wanted - most <= len(waiting):
        return Shortage(words, tuple(waiting[: wanted - most]))
    return Shortage(f"{words}. Raise it, or wait until a version goes.")


def _lack_of_batches(draft: Draft) -> Shortage | None:
    most = draft.scene.spec.server.capacity.max_loras
    busy, answering = len(_stable(draft)), sum(sibling.answering for sibling in _neighbours(draft))
    if busy + answering + 1 <= most:
        return None
    return Shortage(
        f"one version more would make {busy + answering + 1} with traffic on each pod ({busy} of this object, {answering} of others), "
        f"and spec.server.capacity.maxLoras is {most}: above it their requests wait for each other. Raise it, and the "
        "engine's own limit, or wait until a rollout on these pods has ended."
    )


def _stable(draft: Draft) -> set[str]:
    return {draft.stable.version} if draft.stable is not None else set()


def _neighbours(draft: Draft) -> tuple[Sibling, ...]:
    """Other deployments on the same pods."""
    return draft.scene.observed.siblings if draft.scene.spec.server.external is not None else ()


def _held(draft: Draft, version: str) -> Iterator[tuple[ServerPod, HeldVersion]]:
    for pod in draft.scene.observed.pods:
        held = pod.held(version)
        if held is not None:
            yield pod, held


def _in_words(pod: ServerPod, version: str) -> str:
    held = pod.held(version)
    if held is None:
        return pod.name
    return f"{pod.name} ({held.reason or held.state.value})"
