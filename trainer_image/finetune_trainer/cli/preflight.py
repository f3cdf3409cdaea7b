"""``finetune-trainer preflight``: goes before every container that sees governed data, and sees none itself.

First whether there is a way outside, which takes a while where rules come late; then the decision by which the step was let begin, once
more and about what there is here and now.
"""

import argparse
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from finetune_trainer.cli.egress_options import add_probe_options, probe_order
from finetune_trainer.cli.merge_options import digest
from finetune_trainer.cli.probe_egress import ProbeOrder, probe_egress
from finetune_trainer.contract import ORDER_PATH, Refusal, RunSpec
from finetune_trainer.contract.governance import Decision
from finetune_trainer.contract.governance.order import Order
from finetune_trainer.contract.governance.preflight import Seen, decide_again
from finetune_trainer.pod.context import Evidence
from finetune_trainer.pod.errors import DeniedError
from finetune_trainer.pod.events import EventLog
from finetune_trainer.pod.order import read_order

API_TOKEN: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")
"""Where Kubernetes mounts a service account's token into the pods that have one."""
_MOST_REFUSALS = 8


@dataclass(frozen=True)
class GivenOrder:
    """Where the order lies and what it must be, and the name of the node that the pod runs on."""

    path: Path
    digest: str
    node: str
    api_token: Path


@dataclass(frozen=True)
class Preflight:
    """What the command line asks for; at least one of the two."""

    probe: ProbeOrder | None
    order: GivenOrder | None


def add_preflight_options(command: argparse.ArgumentParser) -> None:
    """Add the probe's options and ``--order``, ``--order-digest``, ``--node``, ``--api-token``."""
    add_probe_options(command)
    command.add_argument("--order", type=Path, default=Path(ORDER_PATH), metavar="FILE", help="by what it was let begin (%(default)s)")
    command.add_argument("--order-digest", type=digest, metavar="sha256:…", help="what --order must be; without it none is read")
    command.add_argument("--node", default="", metavar="NAME", help="what the node is called that this runs on")
    command.add_argument("--api-token", type=Path, default=API_TOKEN, metavar="FILE", help="must not be there (%(default)s)")


def preflight_of(read: argparse.Namespace) -> Preflight | None:
    """None for a command line that asks for nothing."""
    order = None if read.order_digest is None else GivenOrder(read.order, read.order_digest, read.node, read.api_token)
    wanted = Preflight(probe_order(read), order)
    return wanted if wanted.probe is not None or order is not None else None


def execute(wanted: Preflight, run: RunSpec | None, evidence: Evidence, events: EventLog) -> None:
    """``run`` is there where there is an order. Raises ``NotContainedError`` and ``DeniedError``."""
    given = wanted.order
    order = read_order(given.path, given.digest) if given is not None else None
    if wanted.probe is not None:
        probe_egress(wanted.probe, evidence, events)
    if given is None or order is None or run is None:
        return
    probed = evidence.egress.result if evidence.egress is not None else None
    found = decide_again(order, Seen(run, given.node, probed, given.api_token.exists()), datetime.now(UTC))
    _tell(found, order, given, events)
    if found.holds_up(order.facts.stage):
        raise denied(found)


def denied(found: Decision) -> DeniedError:
    """The error that names every rule that blocks; it is called by the first of them."""
    blocking = tuple(finding for finding in found.findings if finding.blocks)
    refusals = tuple(
        Refusal(
            rule=finding.rule.value,
            field=finding.field[:128],
            policy=f"{finding.policy}@{finding.generation}" if finding.policy else "",
            remedy=finding.remedy,
        )
        for finding in blocking[:_MOST_REFUSALS]
    )
    told = found.model_copy(update={"findings": blocking}).one_line()
    return DeniedError(blocking[0].rule.value, f"the pod may not begin: {told}", blocking[0].remedy, refusals)


def _tell(found: Decision, order: Order, given: GivenOrder, events: EventLog) -> None:
    """One line for the pod's log: what was decided, by which policies, and by what it knew of its node."""
    events.emit(
        "decided_again",
        outcome=found.outcome.value,
        decision=found.digest,
        sealed=order.decision,
        policies=[f"{policy.name}@{policy.generation}" for policy in order.policies],
        node=given.node,
        node_known=order.labels_of(given.node) is not None,
        findings=[finding.rule.value for finding in found.findings],
    )
