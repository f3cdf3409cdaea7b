"""How the pods of a run are shut in: what the enforced policies that apply ask for together, as values that become manifests.

A policy that only audits shuts nothing in. Strictest wins: allow-lists intersect, demands add up.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from functools import reduce
from ipaddress import IPv4Network, IPv6Network, ip_network

from finetune_trainer.contract.governance.case import Case
from finetune_trainer.contract.governance.checks.place import endpoint_of
from finetune_trainer.contract.governance.facts import Facts
from finetune_trainer.contract.governance.policy import Destination, Dns, NodeRequirement, Policy, allowed, closes_egress, runtime_classes
from finetune_trainer.contract.governance.vocabulary import EVERYTHING, LABEL_ZONE

_ADDRESS = re.compile(r"(?:(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])(?:\.(?!$)|$)){4}")
_Ranges = dict[IPv4Network | IPv6Network, frozenset[int]]


@dataclass(frozen=True)
class Containment:
    """``allow`` and ``cluster_dns`` are what stays open of a closed egress; ``nodes`` are labels that a node must all have."""

    closed: bool = False
    allow: tuple[Destination, ...] = ()
    cluster_dns: bool = False
    nodes: tuple[NodeRequirement, ...] = ()
    runtime_class_name: str | None = None


def contain(facts: Facts, policies: Iterable[Policy], now: datetime) -> Containment:
    """What the pods of this run have to be; of two runtime classes, which no pod can have, the first."""
    case = Case.of(facts, tuple(policies), now)
    enforced = [policy for policy in case.policies if policy.enforced]
    closing = [policy for policy in enforced if closes_egress(policy, case.level)]
    classes = sorted(runtime_classes(enforced))
    return Containment(
        closed=bool(closing),
        allow=_with_services(_common([policy.network.allow for policy in closing]), case, closing),
        cluster_dns=bool(closing) and all(policy.network.dns is Dns.CLUSTER_ONLY for policy in closing),
        nodes=_nodes(case, enforced),
        runtime_class_name=classes[0] if classes else None,
    )


def _with_services(open_: tuple[Destination, ...], case: Case, closing: list[Policy]) -> tuple[Destination, ...]:
    """And the trackers and judges that every policy which closes egress names, as far as it is by IPv4 address: no rule knows a host."""
    services = (
        (case.facts.trackers, [policy.tracker_hosts or () for policy in closing]),
        (case.facts.judges, [policy.judge_hosts or () for policy in closing]),
    )
    found = set(open_)
    for addresses, lists in services if closing else ():
        for address in addresses:
            host, port = endpoint_of(address) or ("", 0)
            if _ADDRESS.fullmatch(host) and 0 < port < 65_536 and all(host in hosts for hosts in lists):
                found.add(Destination(cidr=f"{host}/32", ports=(port,)))
    return tuple(sorted(found, key=lambda each: _in_order((ip_network(each.cidr), frozenset(each.ports)))))


def _nodes(case: Case, policies: list[Policy]) -> tuple[NodeRequirement, ...]:
    wanted = [NodeRequirement(key=LABEL_ZONE, values=(place,)) for place in sorted(case.classification.residencies)]
    for policy in policies:
        zones = allowed(policy.zones, case.level)
        if zones and EVERYTHING not in zones:
            wanted.append(NodeRequirement(key=LABEL_ZONE, values=tuple(sorted(zones))))
        wanted += policy.node_labels
    return tuple(dict.fromkeys(NodeRequirement(key=each.key, values=tuple(sorted(set(each.values)))) for each in wanted))


def _common(lists: list[tuple[Destination, ...]]) -> tuple[Destination, ...]:
    """What every list allows. Of two address ranges one holds the other, or they have nothing in common."""
    if not lists:
        return ()
    common = reduce(_both, (_ranges(entries) for entries in lists))
    return tuple(Destination(cidr=str(network), ports=tuple(sorted(ports))) for network, ports in sorted(common.items(), key=_in_order))


def _both(left: _Ranges, right: _Ranges) -> _Ranges:
    found: _Ranges = {}
    for one, its_ports in left.items():
        for other, their_ports in right.items():
            ports = its_ports & their_ports
            if ports and one.version == other.version and one.overlaps(other):
                narrower = max(one, other, key=lambda network: network.prefixlen)
                found[narrower] = found.get(narrower, frozenset()) | ports
    return found


def _ranges(entries: tuple[Destination, ...]) -> _Ranges:
    found: _Ranges = {}
    for entry in entries:
        network = ip_network(entry.cidr)
        found[network] = found.get(network, frozenset()) | frozenset(entry.ports)
    return found


def _in_order(entry: tuple[IPv4Network | IPv6Network, frozenset[int]]) -> tuple[int, int, int]:
    network = entry[0]
    return network.version, int(network.network_address), network.prefixlen
