"""Whether the pods that hold a version answer alike, by the fingerprints their agents report: hashed first tokens, no words.

Each agent holds a version to the fingerprint of its own first load; a pod that was odd from the first is seen only beside the others.
"""

from collections.abc import Iterable
from typing import Final

from finetune_inference.contract.proof import Tolerances, drift
from finetune_operator.domain.rollout.draft import Draft
from finetune_operator.domain.rollout.loading import holds, pods_of
from finetune_operator.domain.rollout.observed import ServerPod

TOLERANCE: Final = Tolerances().fingerprint
_SHOWN = 3


def disagreement(draft: Draft, version: str) -> str | None:
    """Which pods answer otherwise than the rest, and what to do about it, for people; None where all that tell agree."""
    pods = [pod for pod in pods_of(draft, version) if holds(pod, version)]
    alike, odd = _parted(pods, version)
    if not odd:
        return None
    if len(alike) > len(odd):
        whom = f"pod {odd[0]} answers" if len(odd) == 1 else f"pods {_listed(odd)} answer"
        them = "it" if len(odd) == 1 else "them"
        return f"{whom} with {version} otherwise than the {len(alike)} other pods. Replace {them}: engine, base model or node differ."
    return (
        f"pods {_listed(sorted([*alike, *odd]))} answer otherwise than each other with {version}, and no majority tells which is right. "
        "Compare their images, base model and nodes, then replace the wrong ones."
    )


def _parted(pods: Iterable[ServerPod], version: str) -> tuple[list[str], list[str]]:
    """The largest group of pods that agree with one of them, and the others; pods that tell no fingerprint are in neither."""
    told = [(pod.name, held.fingerprint) for pod in pods if (held := pod.held(version)) is not None and held.fingerprint]
    best: list[str] = []
    for _, reference in told:
        alike = [name for name, tokens in told if drift(reference, tokens) <= TOLERANCE]
        if len(alike) == len(told):
            return alike, []
        best = max(best, alike, key=len)
    return best, sorted(name for name, _ in told if name not in best)


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
