"""The router's first process: reads the table and the keys, asks the pods, keeps the workers, and answers on the admin port.

It is in no request's way. What it knows it tells the workers, and what all of them apply it acknowledges.
"""

import asyncio
import logging
import os
import resource
import signal
import socket
import time
from collections.abc import Iterable
from contextlib import suppress
from typing import Final

from prometheus_client import Metric

from finetune_inference.contract import PROCESS_INFO, RouteTable
from finetune_inference.router import credentials, exposition
from finetune_inference.router.admin import Admin, Answers
from finetune_inference.router.book import problems
from finetune_inference.router.breaker import Tally
from finetune_inference.router.fleet import Fleet, Order, bind
from finetune_inference.router.ledger import Ledger, State
from finetune_inference.router.measures import routed
from finetune_inference.router.messages import Credentials, PodStates, Report, Table
from finetune_inference.router.options import Options
from finetune_inference.router.polling import Poller
from finetune_inference.router.sources import Incomplete, LastGood, Rejected, RouteSource

CREDENTIALS_SECONDS: Final = 1.0
LOOK_FIRST_SECONDS: Final = 1.0
"""How long a table that routes a version nobody was seen to hold waits for the pods' answers."""
FIRST_WORD_SECONDS: Final = 3.0
"""How long a start waits for a word of its source before it is ready by the last good table: there may be a newer one."""
CUT_SECONDS: Final = 5.0

log = logging.getLogger(__name__)


class Supervisor:
    """One router."""

    def __init__(self, options: Options, source: RouteSource) -> None:
        self._options = options
        self._source = source
        self._last_good = LastGood(options.state_dir)
        self._counters = options.counters
        self._ledger = Ledger()
        self._schema_problems: dict[str, str] = {}
        self._tally = Tally()
        self._poller = Poller(options.poll_seconds, self._pods_changed)
        self._credentials = Credentials(required=True)
        self._problem: str | None = "no route table yet"
        self._fleet: Fleet | None = None
        self._stop = asyncio.Event()
        self._source_spoke = False
        self._process = f"{int(time.time())}-{os.urandom(4).hex()}"
        self._admin = Admin(Answers(self._metrics, self._routes, self._not_alive, self._not_ready))

    async def run(self) -> None:
        """Until SIGTERM or SIGINT, and until the last stream has ended or its time is over. Raises ``OSError`` for a port that is taken."""
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, self._stop.set)
        _raise_file_limit(self._options)
        exposition.clear(self._counters)
        sockets = bind(self._options.address, self._options.port, self._options.workers)
        port = sockets[0].getsockname()[1]
        fleet = self._fleet = Fleet(self._options, sockets, self)
        await self._admin.start(self._options.address, self._options.admin_port)
        self._poller.start()
        self._read_credentials()
        if (table := self._last_good.load()) is not None:
            await self._adopt(table)
        try:
            async with asyncio.TaskGroup() as tasks:
                background = [tasks.create_task(self._follow_source()), tasks.create_task(self._follow_credentials())]
                asyncio.get_running_loop().call_later(FIRST_WORD_SECONDS, self._wait_no_more)
                running = tasks.create_task(fleet.run())
                log.info("the router listens", extra={"port": port, "admin_port": self._admin.port, "workers": self._options.workers})
                await self._stop.wait()
                log.info("the router stops when its open requests have ended")
                fleet.drain()
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._options.drain_seconds + CUT_SECONDS):
                        await asyncio.shield(running)
                fleet.kill()
                for task in background:
                    task.cancel()
        finally:
            fleet.kill()
            await self._poller.close()
            await self._admin.close()

    # What the fleet asks and tells.

    def greeting(self, slot: int) -> Iterable[Order]:
        """Keys before routes: a worker serves as soon as it has routes."""
        self._ledger.greeted(slot)
        yield self._credentials
        yield PodStates(pods=self._poller.states())
        if self._ledger.newest:
            yield self._table()

    def before_start(self, slot: int) -> None:
        exposition.prepare(self._counters, slot, self._living())

    def heard(self, slot: int, report: Report) -> None:
        before = self._ledger.applied
        self._ledger.heard(slot, report)
        self._tell_applied(before)
        for count in report.canaries:
            key = (count.alias, count.generation)
            if self._tally.add(key, count.requests, count.failures):
                log.error("the breaker of %s is open: its canary failed too often and gets no more traffic", count.alias)
                self._publish(self._ledger.state.table)

    def suspected(self, pod: str) -> None:
        self._poller.suspect(pod)

    def lost(self, slot: int) -> None:
        before = self._ledger.applied
        self._ledger.lost(slot)
        self._tell_applied(before)

    def _tell_applied(self, before: RouteTable) -> None:
        """The moment from which `/routes` acknowledges a generation, for whoever looks into what happened when."""
        if (applied := self._ledger.applied) is not before:
            log.info("every worker applies the route table", extra={"generations": _news(before, applied)})

    # Tables, pods and keys.

    async def _follow_source(self) -> None:
        async for found in self._source.updates():
            match found:
                case Rejected(message):
                    self._problem = message
                    log.error("the route table is not applied, the last good one stays: %s", message)
                case Incomplete(table, message):
                    log.error("part of the route table is missing or old: %s", message)
                    await self._adopt(table)
                    self._problem = message
                case RouteTable() as table:
                    await self._adopt(table)
                    self._problem = None
            self._wait_no_more()

    def _wait_no_more(self) -> None:
        self._source_spoke = True

    async def _adopt(self, table: RouteTable) -> None:
        if self._ledger.newest and table == self._ledger.state.table:
            return
        self._schema_problems = problems(table)
        for alias, problem in self._schema_problems.items():
            log.warning("routes[%s].schemaCheck: %s; its answers are not checked", alias, problem)
        self._poller.follow(table.endpoints)
        newly_routed = _wanted(table) - _wanted(self._ledger.state.table)
        if not newly_routed <= {(pod.deployment, version) for pod in self._poller.states() for version in pod.versions}:
            await self._poller.refresh(LOOK_FIRST_SECONDS)
        self._tally.follow(table)
        figures = {"routes": len(table.routes), "endpoints": len(table.endpoints)}
        log.info("a route table is applied", extra=figures | {"generations": _news(self._ledger.state.table, table)})
        self._publish(table)
        self._last_good.keep(table)

    def _publish(self, table: RouteTable) -> None:
        self._ledger.publish(State(table, self._tally.open, self._schema_problems))
        self._send(self._table())

    def _table(self) -> Table:
        state = self._ledger.state
        return Table(number=self._ledger.newest, table=state.table, opened=state.opened)

    def _pods_changed(self) -> None:
        self._send(PodStates(pods=self._poller.states()))

    async def _follow_credentials(self) -> None:
        while True:
            await asyncio.sleep(CREDENTIALS_SECONDS)
            self._read_credentials()

    def _read_credentials(self) -> None:
        """Keys that cannot be read leave the last ones in force; before there were any, nobody may ask."""
        options = self._options
        try:
            found = credentials.read(
                options.api_keys, options.pin_token_file, options.engine_key_file, keyless_admits=options.without_keys == "admit"
            )
        except credentials.Unreadable as error:
            log.warning("the keys stay as they were: %s", error)
            return
        if found != self._credentials:
            self._credentials = found
            self._poller.engine_key = found.engine_key
            self._send(found)
            log.info("keys are applied", extra={"keys": len(found.keys)})

    def _send(self, order: Order) -> None:
        if self._fleet is not None:
            self._fleet.send(order)

    # What the admin port shows.

    def _living(self) -> set[exposition.Version]:
        """Versions of every table that some worker may still route by."""
        return {version for state in self._ledger.states.values() for version in routed(state.table)}

    async def _metrics(self) -> bytes:
        """Summing thousands of series takes a while, so it happens on a thread; what changes meanwhile is read before."""
        workers = exposition.WorkerCounters(self._counters, self._living())
        return await asyncio.to_thread(exposition.rendered, workers, exposition.Gauges(list(self._gauges())))

    def _gauges(self) -> Iterable[Metric]:
        state = self._ledger.states[self._ledger.acknowledged]
        namespace, routes = state.table.namespace, state.table.routes
        open_now: dict[tuple[str, ...], float] = dict.fromkeys(routed(state.table), 0.0)
        open_now |= {(namespace, deployment, version): count for (deployment, version), count in self._ledger.in_flight().items()}
        arm, owner = ("namespace", "deployment", "version"), ("namespace", "deployment")
        whose: dict[tuple[str, ...], float] = {(namespace, self._process): 1.0}
        yield exposition.gauge(
            PROCESS_INFO, "Whose counters these are: those of another process begin at zero.", ("namespace", "process"), whose
        )
        yield exposition.gauge("adapter_router_inflight", "Open requests by version.", arm, open_now)
        yield exposition.gauge(
            "adapter_router_config_generation",
            "Generation of a route that every worker applies.",
            owner,
            {(namespace, route.deployment): route.generation for route in routes},
        )
        yield exposition.gauge(
            "adapter_router_breaker_open",
            "1 if the local breaker has taken the canary's traffic away.",
            owner,
            {(namespace, route.deployment): (route.alias, route.generation) in state.opened for route in routes},
        )
        yield exposition.gauge("adapter_router_workers", "Worker processes that serve.", (), {(): self._serving()})
        rejected = self._problem is not None
        yield exposition.gauge(
            "adapter_router_table_rejected", "1 if the source has a table that is not applied, or not all of it.", (), {(): rejected}
        )

    def _routes(self) -> str:
        return self._ledger.acknowledgement(socket.gethostname(), self._process, self._problem).to_json()

    def _serving(self) -> int:
        return sum(report.serving for report in self._ledger.reports.values())

    def _not_alive(self) -> list[str]:
        return [] if self._fleet is not None and self._fleet.alive else ["no worker process"]

    def _not_ready(self) -> list[str]:
        found = ["the router is stopping"] if self._stop.is_set() else []
        if not self._ledger.newest:
            found.append(self._problem or "no route table yet")
        elif not self._source_spoke:
            found.append("the table is the last good one, and there may be a newer one")
        if (serving := self._serving()) < self._options.workers:
            found.append(f"{serving} of {self._options.workers} workers serve")
        return found


def _raise_file_limit(options: Options) -> None:
    """Every connection is an open file, and the usual soft limit is 1,024; workers inherit what is set here."""
    needed = options.max_connections + options.max_requests + 512
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
    if soft != resource.RLIM_INFINITY and soft < allowed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    if allowed < needed:
        log.warning("a worker may open %d files and would need %d for --max-connections and --max-requests", allowed, needed)


def _news(before: RouteTable, after: RouteTable) -> dict[str, int]:
    """Generations of the routes that changed, by deployment."""
    return {route.deployment: route.generation for route in after.routes if route not in before.routes}


def _wanted(table: RouteTable) -> set[tuple[str, str]]:
    """What a table sends live traffic to."""
    return {(route.deployment, version) for route in table.routes for version in (route.stable, route.canary) if version is not None}
