"""What the server pods hold: whether a version is everywhere, what speaks against it, and whether there is room for one more."""

from collections.abc import Iterator

from finetune_inference.contract import digest_prefix_of
from finetune_operator.api.adapterdeployment.reasons import Reason
from finetune_operator.domain.rollout.draft import Draft
from finetune_operator.domain.rollout.observed import HeldState, HeldVersion, ServerPod

_SHOWN = 3


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
            return Reason.LOAD_FAILED, f"pod {pod.name} refuses {version}: {held.reason or 'no reason given'}: {held.message}"
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
    return None if troubled is None else f"pod {troubled.name} does not hold {version} yet: {troubled.trouble}"


def lack_of_room(draft: Draft) -> str | None:
    """Why the engines cannot hold one version more, or not compute it beside the others, with the numbers; None where they can."""
    spec, observed = draft.scene.spec, draft.scene.observed
    if spec.merged:
        return None
    capacity = spec.server.capacity
    neighbours = observed.siblings if spec.server.external is not None else ()
    stable = {draft.stable.version} if draft.stable is not None else set()
    own = len(stable | {retained.version for retained in draft.retained})
    kept, foreign = sum(sibling.versions for sibling in neighbours), max((pod.others for pod in observed.pods), default=0)
    if own + kept + foreign + 1 > capacity.max_cpu_loras:
        parts = f"{own} of this object, {kept} of others" + (f", {foreign} that nobody here has loaded" if foreign else "")
        return (
            f"one version more would make {own + kept + foreign + 1} on each pod ({parts}), and "
            f"spec.server.capacity.maxCpuLoras is {capacity.max_cpu_loras}. Raise it, or wait until a version goes."
        )
    busy, answering = len(stable), sum(sibling.answering for sibling in neighbours)
    if busy + answering + 1 > capacity.max_loras:
        return (
            f"one version more would make {busy + answering + 1} with traffic on each pod ({busy} of this object, {answering} of others), "
            f"and spec.server.capacity.maxLoras is {capacity.max_loras}: above it their requests wait for each other. Raise it, and the "
            "engine's own limit, or wait until a rollout on these pods has ended."
        )
    return None


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
