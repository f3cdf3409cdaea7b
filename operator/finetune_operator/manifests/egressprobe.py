"""The container that goes before a pod's own where egress is closed: it finds out whether that is so, and mounts nothing.

kubelet mounts volumes into containers one by one: what the probe's container does not mount is nowhere in its reach, and the trainer's
container starts only when the probe has ended well.
"""

from dataclasses import dataclass
from typing import Any

from finetune_operator.manifests.security import container_security
from finetune_trainer.contract import OUTSIDE_NAME, PROBE_STEP

PROBE_CONTAINER = "egress-probe"
_RESOURCES = {"requests": {"cpu": "50m", "memory": "128Mi"}}


@dataclass(frozen=True)
class EgressProbe:
    """What the installation's probes try: ``outside`` is the HOST:PORT that the operator reaches itself.

    Nothing may answer ``times`` times in a row, within so many seconds; and then every so many seconds while a model trains.
    """

    outside: str
    name: str = OUTSIDE_NAME
    times: int = 3
    within_seconds: int = 60
    every_seconds: int = 60


def build_probe(probe: EgressProbe, image: str, pull_policy: str) -> dict[str, Any]:
    """The init container."""
    flags = {"--outside": probe.outside, "--name": probe.name, "--times": probe.times, "--within": probe.within_seconds}
    return {
        "name": PROBE_CONTAINER,
        "image": image,
        "imagePullPolicy": pull_policy,
        "command": ["finetune-trainer"],
        "args": [PROBE_STEP, *(text for flag, value in flags.items() for text in (flag, str(value)))],
        "resources": _RESOURCES,
        "terminationMessagePolicy": "File",
        "securityContext": container_security(),
    }


def watch_arguments(probe: EgressProbe) -> list[str]:
    """What the train step is told, so that it tries again while it lasts."""
    return ["--egress-outside", probe.outside, "--egress-name", probe.name, "--egress-every", str(probe.every_seconds)]
