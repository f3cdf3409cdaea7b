"""A listener outside the pod network, and rules that keep pods from it: what an egress probe is tried on.

The listener has a network namespace of its own, joined to the node's: every pod reaches it, because the testbed's network enforces no
NetworkPolicy. Namespace and link end with the process. The rules stand in for a network plugin that enforces them; they look at no
NetworkPolicy, and say so in their name.
"""

import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from finetune_testbed.bed import Testbed
from finetune_testbed.node.layout import NodeLayout
from finetune_testbed.processes import ProcessError

ADDRESS, PORT = "192.0.2.2", 8443
"""Of TEST-NET-1 (RFC 5737): routed nowhere else."""
_ROUTER = "192.0.2.1"
_LINK = "outside0"
_TABLE = "testbed_fixture_no_plugin"
_LISTEN = f"""
import socket
listener = socket.create_server(("0.0.0.0", {PORT}))
print("listening", flush=True)
while True:
    listener.accept()[0].close()
"""


@contextmanager
def listening(bed: Testbed) -> Iterator[str]:
    """HOST:PORT of a listener that every pod and the node reach, while inside. Raises `ProcessError`."""
    node = ("nsenter", f"--net={NodeLayout(bed).network_namespace}")
    process = subprocess.Popen(["unshare", "--net", sys.executable, "-c", _LISTEN], stdout=subprocess.PIPE, text=True)
    try:
        if process.stdout is None or process.stdout.readline() != "listening\n":
            raise ProcessError("the listener outside the pod network has not started")
        there = ("nsenter", f"--target={process.pid}", "--net")
        _run(*node, "ip", "link", "add", _LINK, "type", "veth", "peer", "name", "eth0", "netns", str(process.pid))
        _run(*node, "ip", "address", "add", f"{_ROUTER}/30", "dev", _LINK)
        _run(*node, "ip", "link", "set", _LINK, "up")
        _run(*there, "ip", "address", "add", f"{ADDRESS}/30", "dev", "eth0")
        _run(*there, "ip", "link", "set", "eth0", "up")
        _run(*there, "ip", "route", "add", "default", "via", _ROUTER)
        yield f"{ADDRESS}:{PORT}"
    finally:
        process.kill()
        process.wait()
        _until_gone(node)


@contextmanager
def closed(bed: Testbed, but_for: Iterable[str]) -> Iterator[None]:
    """Pods other than those at these addresses cannot reach the listener, while inside."""
    node = ("nsenter", f"--net={NodeLayout(bed).network_namespace}")
    sources = f"ip saddr {bed.subnets.pods} ip saddr != {{ {', '.join(but_for)} }}"
    rules = f"table inet {_TABLE} {{ chain forward {{ type filter hook forward priority -10; {sources} ip daddr {ADDRESS} drop; }}; }}"
    _run(*node, "nft", rules)
    try:
        yield
    finally:
        subprocess.run([*node, "nft", "delete", "table", "inet", _TABLE], check=False, capture_output=True)


def open_again(bed: Testbed) -> None:
    """Take the rules away before `closed` ends."""
    _run("nsenter", f"--net={NodeLayout(bed).network_namespace}", "nft", "delete", "table", "inet", _TABLE)


def _until_gone(node: tuple[str, str], seconds: float = 30.0) -> None:
    """The kernel takes the namespace, and with it the link, away a moment after the process."""
    deadline = time.monotonic() + seconds
    while subprocess.run([*node, "ip", "link", "show", _LINK], check=False, capture_output=True).returncode == 0:
        if time.monotonic() > deadline:
            raise ProcessError(f"the link {_LINK} is still there")
        time.sleep(0.1)


def _run(*command: str) -> None:
    answer = subprocess.run(command, check=False, capture_output=True, text=True)
    if answer.returncode:
        raise ProcessError(f"{' '.join(command)}: {answer.stderr.strip()}")
