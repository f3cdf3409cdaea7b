"""What pods tried to reach outside their cluster: addresses, seen by the node before it routes them, and names, seen by the cluster's DNS.

There is no outside on a testbed, so an attempt fails; that it was made is what matters to somebody who must show that nothing dials out.
"""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from finetune_testbed.bed import Testbed
from finetune_testbed.node.layout import NodeLayout
from finetune_testbed.processes import ProcessError

_TABLE = "testbed_outward"
_SET = "tried"
_ASKED = "asked outside: "
"""How `dns` writes a name into the log of CoreDNS."""


@dataclass(frozen=True, order=True)
class Attempt:
    """A packet of a pod for an address that is none of the cluster's."""

    pod_ip: str
    destination: str
    protocol: str
    port: int


class Watch:
    """From its beginning on. Names are those that the cluster's DNS was asked for and that end outside the cluster."""

    def __init__(self, bed: Testbed) -> None:
        self._bed = bed
        self._before: tuple[list[Attempt], list[str]] = ([], [])
        self._from = self._log_size()

    def attempts(self) -> list[Attempt]:
        """Each once, in order of pods."""
        listed = json.loads(_nft(self._bed, "--json", "list", "set", "inet", _TABLE, _SET))
        elements: list[Any] = next(entry["set"].get("elem", []) for entry in listed["nftables"] if "set" in entry)
        return sorted({*self._before[0], *(_attempt(element) for element in elements)})

    def names(self) -> list[str]:
        """Each once."""
        with self._log.open("rb") as file:
            file.seek(self._from)
            text = file.read().decode(errors="replace")
        asked = (line.split(_ASKED, 1)[1].split()[0].rstrip(".") for line in text.splitlines() if _ASKED in line)
        return sorted({*self._before[1], *asked})

    @contextmanager
    def looking_away(self) -> Iterator[None]:
        """What is tried inside does not count: there are pods whose task it is to try."""
        self._before = (self.attempts(), self.names())
        try:
            yield
        finally:
            _nft(self._bed, "flush", "set", "inet", _TABLE, _SET)
            self._from = self._log_size()

    @property
    def _log(self) -> Any:
        return self._bed.logs / "coredns.log"

    def _log_size(self) -> int:
        return int(self._log.stat().st_size)


@contextmanager
def watched(bed: Testbed) -> Iterator[Watch]:
    """Watch while inside. Raises `ProcessError`."""
    _nft(bed, _rules(bed))
    try:
        yield Watch(bed)
    finally:
        _nft(bed, "delete", "table", "inet", _TABLE)


def _rules(bed: Testbed) -> str:
    """Before routing: where no route leads, the node answers for itself and forwards nothing."""
    nets = bed.subnets
    return f"""
table inet {_TABLE}
delete table inet {_TABLE}
table inet {_TABLE} {{
  set {_SET} {{ type ipv4_addr . ipv4_addr . inet_proto . inet_service; flags dynamic; size 65535; }}
  chain prerouting {{
    type filter hook prerouting priority raw;
    ip saddr {nets.pods} ip daddr != {nets.everything} meta l4proto {{ tcp, udp }} \\
      add @{_SET} {{ ip saddr . ip daddr . meta l4proto . th dport }}
  }}
}}
"""


def _attempt(element: Any) -> Attempt:
    """Dynamic elements come as ``{"elem": {"val": …}}`` from some versions, and bare from others."""
    value = element["elem"]["val"] if "elem" in element else element
    pod_ip, destination, protocol, port = value["concat"]
    return Attempt(pod_ip=str(pod_ip), destination=str(destination), protocol=str(protocol), port=int(port))


def _nft(bed: Testbed, *command: str) -> str:
    inside = ("nsenter", f"--net={NodeLayout(bed).network_namespace}", "nft")
    done = subprocess.run([*inside, *command], check=False, capture_output=True, text=True)
    if done.returncode != 0:
        raise ProcessError(f"nft refuses: {done.stderr.strip()}")
    return done.stdout
