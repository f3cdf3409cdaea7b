"""One worker process (``python -m finetune_inference.router.worker``): takes routes, pods and keys from the supervisor, and serves.

It accepts nobody before it has a table, so a worker that was started anew never answers from ignorance. When the supervisor is gone, it
drains and ends.
"""

import argparse
import asyncio
import logging
import signal
import socket
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import prometheus_client.values
import uvloop
from pydantic import ValidationError

from finetune_inference.router import logs
from finetune_inference.router.admission import Admission
from finetune_inference.router.book import bound
from finetune_inference.router.checking import Checker
from finetune_inference.router.counterfiles import CounterFiles
from finetune_inference.router.exchange import Means
from finetune_inference.router.frontend import Frontend
from finetune_inference.router.listener import Listener
from finetune_inference.router.measures import Measures
from finetune_inference.router.messages import (
    LINE_LIMIT,
    TO_WORKER,
    Credentials,
    Drain,
    PodStates,
    Report,
    Suspect,
    Table,
)
from finetune_inference.router.options import Options
from finetune_inference.router.pods import Pod, Pods
from finetune_inference.router.sampling import Sampling
from finetune_inference.router.shadow import Shadows
from finetune_inference.router.traffic import Traffic
from finetune_inference.router.upstream import Upstream

REPORT_SECONDS = 0.1
SHADOW_CONNECTIONS = 256

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Place:
    """Which worker of how many this is, and where it counts."""

    slot: int
    options: Options
    files: CounterFiles


class Worker:
    """The parts of one worker, and what the supervisor's messages change in them."""

    def __init__(self, place: Place, writer: asyncio.StreamWriter) -> None:
        options = place.options
        self._writer = writer
        self._number = 0
        self._measures = Measures(compact=place.files.compact)
        self._traffic = Traffic(self._measures)
        self._pods = Pods()
        self._checker = Checker(options.check_queue)
        times = {"connect_seconds": options.connect_seconds, "silence_seconds": options.silence_seconds}
        self._upstream = Upstream(options.max_requests, **times)
        self._copies = Upstream(SHADOW_CONNECTIONS, **times)
        means = Means(self._pods, self._upstream, self._traffic, Sampling(self._checker, self._measures), self._suspect)
        self._shadows = Shadows(means, self._copies, options, place.slot)
        self._frontend = Frontend(means, self._shadows, Admission(options))
        self._listener = Listener(self._frontend, options)

    async def run(self, reader: asyncio.StreamReader, listening: socket.socket) -> None:
        """Until drained."""
        self._checker.start()
        serving = False
        async with asyncio.TaskGroup() as tasks:
            background = [tasks.create_task(self._report()), tasks.create_task(self._listener.cut_stalled())]
            while line := await reader.readline():
                message = TO_WORKER.validate_json(line)
                if isinstance(message, Drain):
                    break
                self._take(message)
                if self._number and not serving:
                    await self._listener.start(listening)
                    serving = True
            await self._listener.drain()
            await self._shadows.close()
            for task in background:
                task.cancel()
        self._send_report()
        self._checker.stop(1.0)
        await self._upstream.close()
        await self._copies.close()

    def _take(self, message: Table | PodStates | Credentials) -> None:
        match message:
            case Table():
                self._measures.follow(message.table)
                self._frontend.book = bound(message.table, message.opened, self._frontend.book)
                self._number = message.number
            case PodStates():
                self._pods.follow(message.pods)
            case Credentials():
                self._frontend.credentials = message

    async def _report(self) -> None:
        while True:
            self._send_report()
            await asyncio.sleep(REPORT_SECONDS)

    def _send_report(self) -> None:
        report = Report(
            applied=self._number,
            serving=self._number > 0 and not self._frontend.draining,
            in_flight=self._traffic.in_flight(),
            canaries=self._traffic.canaries(),
        )
        self._writer.write(report.line())

    def _suspect(self, pod: Pod) -> None:
        self._writer.write(Suspect(pod=pod.name).line())


async def serve(place: Place, channel: socket.socket, listening: socket.socket) -> None:
    reader, writer = await asyncio.open_connection(sock=channel, limit=LINE_LIMIT)
    try:
        await Worker(place, writer).run(reader, listening)
    finally:
        with suppress(ConnectionError):
            await writer.drain()
        writer.close()


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of the process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slot", type=int, required=True)
    parser.add_argument("--channel", type=int, required=True)
    parser.add_argument("--listen", type=int, required=True)
    parser.add_argument("--options", required=True)
    given = parser.parse_args(arguments)
    try:
        options = Options.model_validate_json(given.options)
    except ValidationError as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 2
    logs.configure(options.log_format, options.log_level)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the supervisor decides when to stop
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.setswitchinterval(0.001)  # a check on its thread must not hold up the streams
    files = CounterFiles(options.counters, given.slot)
    prometheus_client.values.ValueClass = files.value
    uvloop.run(serve(Place(given.slot, options, files), socket.socket(fileno=given.channel), socket.socket(fileno=given.listen)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
