"""The command line about egress: of the probe that goes before a step, and of the watch that goes with one."""

import argparse

from finetune_trainer.cli.probe_egress import ProbeOrder
from finetune_trainer.contract import METADATA, OUTSIDE_NAME, endpoint
from finetune_trainer.pod.egress import EgressTargets, EgressWatch


def add_probe_options(command: argparse.ArgumentParser) -> None:
    """Add the targets, ``--times`` and ``--within``; without ``--outside`` nothing is tried."""
    command.add_argument("--outside", type=_endpoint, metavar="HOST:PORT", help="what answers if it can be reached")
    command.add_argument("--metadata", type=_endpoint, default=METADATA, metavar="HOST:PORT", help="of the node (%(default)s)")
    command.add_argument("--name", default=OUTSIDE_NAME, metavar="NAME", help="a name that only the outside knows (%(default)s)")
    command.add_argument("--times", type=_whole, default=3, metavar="N", help="how often in a row nothing must answer (%(default)s)")
    command.add_argument("--within", type=_whole, default=60, metavar="SECONDS", help="how long something may still answer (%(default)s)")


def add_watch_options(command: argparse.ArgumentParser) -> None:
    """Add the targets with ``--egress-`` before them, and ``--egress-every``; without a target nothing is watched."""
    command.add_argument("--egress-outside", type=_endpoint, metavar="HOST:PORT", help="end when this or one of the others answers")
    command.add_argument("--egress-metadata", type=_endpoint, default=METADATA, metavar="HOST:PORT", help="of the node (%(default)s)")
    command.add_argument("--egress-name", default=OUTSIDE_NAME, metavar="NAME", help="a name that only the outside knows (%(default)s)")
    command.add_argument("--egress-every", type=_whole, default=60, metavar="SECONDS", help="how often they are tried (%(default)s)")


def probe_order(read: argparse.Namespace) -> ProbeOrder | None:
    """What the parsed command line of a preflight asks to be tried."""
    if read.outside is None:
        return None
    return ProbeOrder(EgressTargets(read.outside, read.metadata, read.name), read.times, float(read.within))


def egress_watch(read: argparse.Namespace) -> EgressWatch | None:
    """What the parsed command line of a step asks to be watched."""
    outside = getattr(read, "egress_outside", None)
    if outside is None:
        return None
    return EgressWatch(EgressTargets(outside, read.egress_metadata, read.egress_name), float(read.egress_every))


def watch_flags(watch: EgressWatch) -> list[str]:
    """The same again as a command line."""
    targets = watch.targets
    flags = {"--egress-outside": targets.outside, "--egress-metadata": targets.metadata, "--egress-name": targets.name}
    return [text for name, value in {**flags, "--egress-every": f"{watch.every_seconds:.0f}"}.items() for text in (name, value)]


def _endpoint(text: str) -> str:
    endpoint(text)
    return text


def _whole(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number
