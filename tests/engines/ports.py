"""Ports for programs that a test starts, at which they may be started again: none that the kernel gives to an outgoing connection.

Such a connection could take the port before the program listens, or while it is down for a moment.
"""

import random
import socket
from contextlib import ExitStack, suppress

from finetune_testbed.state import PORTS

TRIES = 100


def free_ports(count: int) -> list[int]:
    """So many, of which no two are the same: each is held until the last is chosen."""
    chosen: list[int] = []
    with ExitStack() as held:
        for port in random.sample(PORTS, count * TRIES):
            listener = held.enter_context(socket.socket())
            with suppress(OSError):
                listener.bind(("127.0.0.1", port))
                chosen.append(port)
            if len(chosen) == count:
                return chosen
    raise AssertionError(f"no {count} free ports between {PORTS.start} and {PORTS.stop - 1}")


def free_port() -> int:
    return free_ports(1)[0]
