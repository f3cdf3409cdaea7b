"""A server of this host that pods reach, and every byte that they have sent to it, as it came."""

import contextlib
import socket
import socketserver
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from finetune_testbed.bed import Testbed

_PIECE = 1 << 16


class _Relay(socketserver.ThreadingTCPServer):
    daemon_threads = True


@contextlib.contextmanager
def tapped(bed: Testbed, port: int, folder: Path) -> Iterator[str]:
    """HOST:PORT by which pods of this testbed reach what listens on this port of 127.0.0.1; the folder gets a file for each connection.

    It is an address of the testbed, as of a server that a site runs beside its cluster: dialling it is no way outside.
    """
    folder.mkdir()

    class Tap(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with (
                tempfile.NamedTemporaryFile(dir=folder, delete=False, buffering=0) as kept,
                socket.create_connection(("127.0.0.1", port)) as server,
            ):
                back = threading.Thread(target=_pass_on, args=(server, self.request), daemon=True)
                back.start()
                _pass_on(self.request, server, kept)
                back.join()

    with _Relay((str(bed.subnets.host), 0), Tap) as relay:
        thread = threading.Thread(target=relay.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True)
        thread.start()
        try:
            yield f"{bed.subnets.host}:{relay.server_address[1]}"
        finally:
            relay.shutdown()
            thread.join()


def _pass_on(source: socket.socket, sink: socket.socket, kept: IO[bytes] | None = None) -> None:
    """Until one side has had enough; whoever hangs up, the other is told."""
    with contextlib.suppress(OSError):
        while piece := source.recv(_PIECE):
            if kept is not None:
                kept.write(piece)
            sink.sendall(piece)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)
