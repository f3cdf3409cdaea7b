"""Where testbeds are remembered: one folder per name, one file of facts in it, one lock for all changes."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import random
import re
import shutil
import socket
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, astuple, fields, replace
from ipaddress import IPv4Network
from pathlib import Path

from finetune_testbed.bed import Ports, Settings, Subnets, Testbed, Tier
from finetune_testbed.binaries import cache_root

SLOTS = 32
_NAME = re.compile(r"[a-z]([a-z0-9-]{0,18}[a-z0-9])?")


class StateError(RuntimeError):
    """The testbed cannot be found or made; the message says why and what to do."""


def state_root(environment: Mapping[str, str] = os.environ) -> Path:
    """FINETUNE_TESTBED_STATE; else /var/lib for root and the user's state folder for others."""
    if chosen := environment.get("FINETUNE_TESTBED_STATE"):
        return Path(chosen).expanduser().absolute()
    if os.geteuid() == 0:
        return Path("/var/lib/finetune-testbed")
    base = environment.get("XDG_STATE_HOME") or "~/.local/state"
    return Path(base).expanduser().absolute() / "finetune-testbed"


@contextmanager
def locked(name: str, root: Path | None = None) -> Iterator[None]:
    """Hold one testbed for a change; a second caller waits."""
    folder = (root or state_root()) / ".locks"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / name).open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def names(root: Path | None = None) -> list[str]:
    folder = root or state_root()
    return sorted(path.parent.name for path in folder.glob("*/testbed.json"))


def load(name: str, root: Path | None = None) -> Testbed | None:
    """The testbed of this name, or None."""
    folder = (root or state_root()) / name
    path = folder / "testbed.json"
    if not path.exists():
        return None
    stored = json.loads(path.read_text())
    known = {entry.name for entry in fields(Settings)}
    settings = {key: value for key, value in stored["settings"].items() if key in known}
    settings["tier"] = Tier(settings["tier"])
    settings["apiserver_flags"] = tuple(settings["apiserver_flags"])
    return Testbed(
        name=stored["name"],
        state_dir=folder,
        cache_dir=cache_root(),
        ports=Ports(**stored["ports"]),
        subnets=Subnets(stored["slot"]),
        settings=Settings(**settings),
    )


def create(name: str, settings: Settings, root: Path | None = None) -> Testbed:
    """Choose ports and addresses for a new testbed and store them.

    Raises:
        StateError: the name is no DNS label of at most 20 characters, or all address ranges are taken.
    """
    if not _NAME.fullmatch(name):
        raise StateError(f"{name!r} cannot name a testbed: 1-20 lower-case letters, digits and dashes, beginning with a letter.")
    base = root or state_root()
    with locked(".slots", base):
        folder = base / name
        folder.mkdir(parents=True, exist_ok=True)
        bed = Testbed(name, folder, cache_root(), free_ports(_recorded_ports(base)), Subnets(_free_slot(base)), settings)
        save(bed)
    return bed


def save(bed: Testbed) -> None:
    stored = {
        "name": bed.name,
        "slot": bed.subnets.slot,
        "ports": asdict(bed.ports),
        "settings": asdict(bed.settings),
    }
    partial = bed.state_dir / "testbed.json.partial"
    partial.write_text(json.dumps(stored, indent=2))
    partial.replace(bed.state_dir / "testbed.json")


def with_settings(bed: Testbed, settings: Settings) -> Testbed:
    changed = replace(bed, settings=settings)
    save(changed)
    return changed


def remove(bed: Testbed) -> None:
    """Forget a stopped testbed: logs, keys and data go; the cache of programs stays."""
    shutil.rmtree(bed.state_dir)
    (bed.state_dir.parent / ".locks" / bed.name).unlink(missing_ok=True)


PORTS = range(20_000, 30_000)
"""Below the kernel's default range for outgoing connections (32768 and up), one of which could take the port of a program that is
down for a moment."""


def free_ports(taken: Collection[int] = ()) -> Ports:
    """Ports nobody listens on now, none of `taken`. All are held open until the last is chosen, so they differ.

    Raises:
        StateError: nearly all of `PORTS` are in use.
    """
    with ExitStack() as held:
        candidates = (port for port in random.sample(PORTS, len(PORTS)) if port not in taken)
        chosen = {entry.name: _first_free(candidates, held) for entry in fields(Ports)}
    return Ports(**chosen)


def _first_free(candidates: Iterator[int], held: ExitStack) -> int:
    for port in candidates:
        listener = held.enter_context(socket.socket())
        try:
            listener.bind(("", port))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
        else:
            return port
    raise StateError(f"No free port between {PORTS.start} and {PORTS.stop - 1}: stop what listens there.")


def _recorded_ports(root: Path) -> frozenset[int]:
    """Ports of all testbeds, also of those whose programs are down for the moment or have yet to start."""
    return frozenset(port for name in names(root) if (bed := load(name, root)) is not None for port in astuple(bed.ports))


def _free_slot(root: Path) -> int:
    taken = {bed.subnets.slot for name in names(root) if (bed := load(name, root)) is not None}
    routes = _host_networks()
    for slot in range(SLOTS):
        if slot not in taken and not any(Subnets(slot).everything.overlaps(route) for route in routes):
            return slot
    raise StateError(f"All {SLOTS} address ranges (10.200.0.0/16 and up) are used by routes of this host or testbeds.")


def _host_networks() -> list[IPv4Network]:
    """Networks the host already routes, without the default route. The kernel's table: hexadecimal, little endian."""
    table = Path("/proc/net/route")
    networks = []
    for line in table.read_text().splitlines()[1:] if table.exists() else []:
        destination, mask = (int.from_bytes(bytes.fromhex(line.split()[column])[::-1]) for column in (1, 7))
        if mask:
            networks.append(IPv4Network((destination, mask.bit_count()), strict=False))
    return networks
