"""At most one process holds the right to write, whatever the API server and the clocks do."""

import asyncio
import copy
from datetime import UTC, datetime
from typing import Any

import pytest

from finetune_operator.cluster.errors import Conflict, NotFound, Unavailable
from finetune_operator.cluster.resources import Resource
from finetune_operator.control.leader import Leadership, LeadershipLost, LeaseTerms

TERMS = LeaseTerms(duration=15.0, deadline=10.0, retry=2.0, request=3.0)


class Clock:
    """Time that passes when somebody sleeps; several sleepers are served in order of their deadlines."""

    def __init__(self) -> None:
        self.now = 1000.0
        self._sleepers: list[tuple[float, asyncio.Future[None]]] = []

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._sleepers.append((self.now + seconds, future))
        await future

    async def advance(self, seconds: float) -> None:
        end = self.now + seconds
        while True:
            for _ in range(20):
                await asyncio.sleep(0)
            due = [entry for entry in self._sleepers if entry[0] <= end and not entry[1].done()]
            if not due:
                break
            entry = min(due, key=lambda candidate: candidate[0])
            self._sleepers.remove(entry)
            self.now = entry[0]
            entry[1].set_result(None)
        self.now = end


class LeaseServer:
    """An API server for one Lease, with compare-and-swap, which can be away or answer late."""

    def __init__(self, clock: Clock) -> None:
        self.lease: dict[str, Any] | None = None
        self.away = False
        self.late = 0.0
        self._clock = clock
        self._version = 0

    async def get(self, resource: Resource, namespace: str | None, name: str) -> dict[str, Any]:
        await self._answer()
        if self.lease is None:
            raise NotFound("no such lease", status=404)
        return copy.deepcopy(self.lease)

    async def create_unfenced(self, resource: Resource, manifest: dict[str, Any]) -> dict[str, Any]:
        await self._answer()
        if self.lease is not None:
            raise Conflict("exists", status=409, reason="AlreadyExists")
        return self._store(manifest)

    async def replace(self, resource: Resource, manifest: dict[str, Any], *, fenced: bool = True) -> dict[str, Any]:
        assert not fenced, "the Lease is what the fence is made of"
        await self._answer()
        assert self.lease is not None
        if manifest["metadata"].get("resourceVersion") != self.lease["metadata"]["resourceVersion"]:
            raise Conflict("stale", status=409, reason="Conflict")
        return self._store(manifest)

    def _store(self, manifest: dict[str, Any]) -> dict[str, Any]:
        self._version += 1
        self.lease = copy.deepcopy(manifest)
        self.lease["metadata"]["resourceVersion"] = str(self._version)
        return copy.deepcopy(self.lease)

    async def _answer(self) -> None:
        if self.away:
            raise Unavailable("connection refused")
        if self.late:
            await self._clock.sleep(self.late)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def server(clock: Clock) -> LeaseServer:
    return LeaseServer(clock)


def candidate(server: LeaseServer, clock: Clock, identity: str) -> Leadership:
    return Leadership(
        server,
        namespace="system",
        name="finetune-operator",
        identity=identity,
        terms=TERMS,
        clock=clock,
        now=lambda: datetime.fromtimestamp(clock.now, UTC),
        sleep=clock.sleep,
    )


def may_write(leader: Leadership) -> bool:
    """What the fence says at this moment."""
    return leader.leads


async def stop(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_the_first_to_come_leads_and_the_second_waits(server: LeaseServer, clock: Clock) -> None:
    first, second = candidate(server, clock, "first"), candidate(server, clock, "second")
    tasks = [asyncio.create_task(first.run()), asyncio.create_task(second.run())]
    await clock.advance(60)
    assert (first.leads, second.leads) == (True, False)
    assert server.lease is not None
    assert server.lease["spec"]["holderIdentity"] == "first"
    assert server.lease["spec"]["leaseTransitions"] == 0
    for task in tasks:
        await stop(task)


async def test_renewal_keeps_the_moment_of_acquisition_and_moves_the_moment_of_renewal(server: LeaseServer, clock: Clock) -> None:
    leader = candidate(server, clock, "a")
    task = asyncio.create_task(leader.run())
    await clock.advance(0)
    assert server.lease is not None
    before = copy.deepcopy(server.lease["spec"])
    await clock.advance(20)
    assert server.lease["spec"]["acquireTime"] == before["acquireTime"]
    assert server.lease["spec"]["renewTime"] > before["renewTime"]
    await stop(task)


async def test_a_lease_given_back_is_taken_at_the_next_look(server: LeaseServer, clock: Clock) -> None:
    first, second = candidate(server, clock, "first"), candidate(server, clock, "second")
    leading = asyncio.create_task(first.run())
    await clock.advance(1)
    following = asyncio.create_task(second.run())
    await clock.advance(10)
    await stop(leading)
    assert not may_write(first)
    await clock.advance(TERMS.retry + 0.1)
    assert second.leads
    await stop(following)


async def test_a_leader_that_cannot_renew_stops_writing_before_another_can_start(server: LeaseServer, clock: Clock) -> None:
    first = candidate(server, clock, "first")
    leading = asyncio.create_task(first.run())
    await clock.advance(5)
    reachable = LeaseServer(clock)  # the same Lease, seen by one that still has a network
    second = candidate(reachable, clock, "second")
    reachable.lease = server.lease
    following = asyncio.create_task(second.run())
    await clock.advance(1)
    server.away = True
    led_together = False
    lost_at = won_at = None
    for _ in range(400):
        await clock.advance(0.1)
        led_together |= first.leads and second.leads
        lost_at = clock.now if lost_at is None and not first.leads else lost_at
        won_at = clock.now if won_at is None and second.leads else won_at
    assert not led_together
    assert lost_at is not None
    assert won_at is not None
    assert lost_at < won_at
    with pytest.raises(LeadershipLost):
        await leading
    await stop(following)


async def test_a_short_outage_is_survived(server: LeaseServer, clock: Clock) -> None:
    leader = candidate(server, clock, "a")
    task = asyncio.create_task(leader.run())
    await clock.advance(4)
    server.away = True
    await clock.advance(6)
    assert may_write(leader)
    server.away = False
    await clock.advance(30)
    assert may_write(leader)
    await stop(task)


async def test_the_right_to_write_counts_from_the_start_of_the_request_not_from_its_answer(server: LeaseServer, clock: Clock) -> None:
    leader = candidate(server, clock, "a")
    server.late = 1.0
    task = asyncio.create_task(leader.run())
    await clock.advance(2.0)  # look and create take a second each
    assert leader.elected.is_set()
    server.away = True
    await clock.advance(TERMS.deadline - 2.0 - 0.1)
    assert may_write(leader)
    await clock.advance(0.2)
    assert not may_write(leader)
    with pytest.raises(LeadershipLost):
        leader.check()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_paused_process_has_lost_its_right_when_it_wakes(server: LeaseServer, clock: Clock) -> None:
    leader = candidate(server, clock, "a")
    task = asyncio.create_task(leader.run())
    await clock.advance(1)
    leader.check()
    clock.now += 20.0  # SIGSTOP: nothing ran, the monotonic clock went on
    with pytest.raises(LeadershipLost):
        leader.check()
    await stop(task)


async def test_who_finds_the_lease_taken_over_ends_at_once(server: LeaseServer, clock: Clock) -> None:
    leader = candidate(server, clock, "a")
    task = asyncio.create_task(leader.run())
    await clock.advance(1)
    assert server.lease is not None
    server.lease["spec"]["holderIdentity"] = "usurper"
    await clock.advance(TERMS.retry + 0.1)
    with pytest.raises(LeadershipLost):
        await task
    assert server.lease["spec"]["holderIdentity"] == "usurper"


async def test_a_lease_of_the_distant_past_or_future_is_judged_by_our_own_clock_alone(server: LeaseServer, clock: Clock) -> None:
    stale = {"holderIdentity": "gone", "leaseDurationSeconds": 15, "renewTime": "2099-01-01T00:00:00.000000Z", "leaseTransitions": 4}
    server.lease = {"metadata": {"name": "finetune-operator", "resourceVersion": "0"}, "spec": stale}
    leader = candidate(server, clock, "a")
    task = asyncio.create_task(leader.run())
    await clock.advance(14)
    assert not may_write(leader)
    await clock.advance(5)
    assert may_write(leader)
    assert server.lease["spec"]["leaseTransitions"] == 5
    await stop(task)


def test_terms_under_which_two_could_lead_are_refused() -> None:
    with pytest.raises(ValueError, match="two processes can lead"):
        LeaseTerms(duration=10.0, deadline=10.0, retry=2.0)
