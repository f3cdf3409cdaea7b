"""The worker processes: one per slot, started anew when one ends, killed when one falls silent.

Each slot has a socket of its own on the same port (SO_REUSEPORT), and the supervisor holds it open: connections that arrive while a slot's
worker is being started wait in its queue instead of being refused.
"""

import asyncio
import logging
import socket
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Protocol

from pydantic import ValidationError

from finetune_inference.router.messages import LINE_LIMIT, TO_SUPERVISOR, Credentials, Drain, PodStates, Report, Suspect, Table
from finetune_inference.router.options import Options

SILENCE_SECONDS: Final = 30.0
FIRST_WAIT: Final = 0.1
LONGEST_WAIT: Final = 5.0
STEADY_SECONDS: Final = 10.0
"""A worker that lived so long did not fail by starting: the next one starts without a wait."""

log = logging.getLogger(__name__)

Order = Table | PodStates | Credentials | Drain


class Desk(Protocol):
    """Whom the fleet reports to; ``greeting`` is what a new worker must know before it serves."""

    def greeting(self, slot: int) -> Iterable[Order]: ...
    def before_start(self, slot: int) -> None: ...
    def heard(self, slot: int, report: Report) -> None: ...
    def suspected(self, pod: str) -> None: ...
    def lost(self, slot: int) -> None: ...


@dataclass
class Slot:
    """A place for a worker, and the one that has it now."""

    number: int
    listening: socket.socket
    process: asyncio.subprocess.Process | None = None
    writer: asyncio.StreamWriter | None = None
    heard_at: float = 0.0


def bind(address: str, port: int, count: int) -> list[socket.socket]:
    """``count`` sockets on one port, none of them listening yet; raises ``OSError`` if the port is taken."""
    bound: list[socket.socket] = []
    for _ in range(count):
        one = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
        bound.append(one)
        if not bound[:-1]:
            _refuse_taken(address, port)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        one.bind((address, port))
        port = one.getsockname()[1]
    return bound


def _refuse_taken(address: str, port: int) -> None:
    """Two routers on one port would share it in silence."""
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((address, port))


class Fleet:
    """All workers."""

    def __init__(self, options: Options, sockets: list[socket.socket], desk: Desk) -> None:
        self._options = options
        self._desk = desk
        self._slots = [Slot(number, listening) for number, listening in enumerate(sockets)]
        self._draining = False

    async def run(self) -> None:
        """Keep every slot filled until `drain`; returns when all workers have ended."""
        async with asyncio.TaskGroup() as tasks:
            watch = tasks.create_task(self._end_silent())
            keepers = [tasks.create_task(self._keep(slot)) for slot in self._slots]
            await asyncio.gather(*keepers)
            watch.cancel()

    @property
    def alive(self) -> int:
        return sum(slot.process is not None for slot in self._slots)

    def send(self, order: Order) -> None:
        """To all workers; one that does not read is ended for its silence."""
        line = order.line()
        for slot in self._slots:
            if slot.writer is not None and not slot.writer.is_closing():
                slot.writer.write(line)

    def drain(self) -> None:
        """Nobody is accepted any more, and no worker is started again."""
        self._draining = True
        self.send(Drain())
        for slot in self._slots:
            slot.listening.close()

    def kill(self) -> None:
        for slot in self._slots:
            _kill(slot)

    async def _keep(self, slot: Slot) -> None:
        wait = FIRST_WAIT
        while True:
            began = time.monotonic()
            status = await self._live(slot)
            if self._draining:
                return
            log.error("worker %d ended with status %s and is started again", slot.number, status, extra={"slot": slot.number})
            wait = FIRST_WAIT if time.monotonic() - began > STEADY_SECONDS else min(2 * wait, LONGEST_WAIT)
            if wait > FIRST_WAIT:
                await asyncio.sleep(wait)

    async def _live(self, slot: Slot) -> int:
        """One worker from start to end."""
        self._desk.before_start(slot.number)
        ours, theirs = socket.socketpair()
        with theirs:
            process = slot.process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "finetune_inference.router.worker", "--slot", str(slot.number)),
                *("--channel", str(theirs.fileno()), "--listen", str(slot.listening.fileno())),
                *("--options", self._options.model_dump_json()),
                pass_fds=(theirs.fileno(), slot.listening.fileno()),
                stdin=asyncio.subprocess.DEVNULL,
                start_new_session=True,
            )
        reader, slot.writer = await asyncio.open_connection(sock=ours, limit=LINE_LIMIT)
        slot.heard_at = time.monotonic()
        for order in self._desk.greeting(slot.number):
            slot.writer.write(order.line())
        if self._draining:
            slot.writer.write(Drain().line())
        try:
            await self._listen(slot, reader)
        finally:
            slot.writer.close()
            slot.writer = None
            status = await process.wait()
            slot.process = None
            self._desk.lost(slot.number)
        return status

    async def _listen(self, slot: Slot, reader: asyncio.StreamReader) -> None:
        try:
            while line := await reader.readline():
                message = TO_SUPERVISOR.validate_json(line)
                slot.heard_at = time.monotonic()
                if isinstance(message, Suspect):
                    self._desk.suspected(message.pod)
                else:
                    self._desk.heard(slot.number, message)
        except (ConnectionError, ValueError, ValidationError) as error:
            log.error("worker %d is ended: it cannot be understood (%s)", slot.number, type(error).__name__)  # noqa: TRY400
            _kill(slot)

    async def _end_silent(self) -> None:
        while True:
            await asyncio.sleep(SILENCE_SECONDS / 10)
            for slot in self._slots:
                if slot.process is not None and time.monotonic() - slot.heard_at > SILENCE_SECONDS:
                    log.error("worker %d has been silent for %.0f s and is ended", slot.number, SILENCE_SECONDS)
                    _kill(slot)


def _kill(slot: Slot) -> None:
    if slot.process is not None:
        with suppress(ProcessLookupError):
            slot.process.kill()
