"""What the installation's probes of egress try, as the command line of a preflight and of a train step."""

from dataclasses import dataclass

from finetune_trainer.contract import OUTSIDE_NAME


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


def probe_arguments(probe: EgressProbe) -> list[str]:
    """What a preflight is told."""
    flags = {"--outside": probe.outside, "--name": probe.name, "--times": probe.times, "--within": probe.within_seconds}
    return [text for flag, value in flags.items() for text in (flag, str(value))]


def watch_arguments(probe: EgressProbe) -> list[str]:
    """What the train step is told, so that it tries again while it lasts."""
    return ["--egress-outside", probe.outside, "--egress-name", probe.name, "--egress-every", str(probe.every_seconds)]
