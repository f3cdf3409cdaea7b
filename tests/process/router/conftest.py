"""A router with two engines, all of them processes of their own."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from finetune_inference.contract import RouteTable
from tests.engines import processes
from tests.engines.processes import EngineProcess, RouterProcess, table_of


@dataclass
class Site:
    """What a test has before it."""

    router: RouterProcess
    engines: list[EngineProcess]

    def apply(self, generation: int, **route: Any) -> None:
        """Change the route, and wait until all workers have it."""
        self.router.apply(table_of(self.engines, generation, **route))

    async def applied(self, generation: int, **route: Any) -> None:
        await asyncio.to_thread(self.apply, generation, **route)

    def outcome_sum(self, *versions: str) -> dict[str, float]:
        total: dict[str, float] = {}
        for version in versions:
            for outcome, count in self.router.outcomes(version).items():
                total[outcome] = total.get(outcome, 0.0) + count
        return total


@pytest.fixture(scope="session")
def shared_engines() -> Iterator[list[EngineProcess]]:
    with processes.engine() as one, processes.engine() as two:
        yield [one, two]


@pytest.fixture
def engines(shared_engines: list[EngineProcess]) -> list[EngineProcess]:
    """Engines that do as they should."""
    for engine in shared_engines:
        engine.change(
            versions=[processes.STABLE, processes.CANARY], listed=None, first_token=0.0, gap=0.0, tokens=5, fault="", faulty=[], answer=""
        )
    return shared_engines


@pytest.fixture(scope="session")
def shared_router(tmp_path_factory: pytest.TempPathFactory, shared_engines: list[EngineProcess]) -> Iterator[RouterProcess]:
    """One router for all tests that leave it as it was."""
    folder = tmp_path_factory.mktemp("router")
    processes.write_table(folder, table_of(shared_engines))
    with processes.router(folder) as router:
        yield router


_GENERATION = iter(range(2, 1_000_000))


@pytest.fixture
def site(shared_router: RouterProcess, engines: list[EngineProcess]) -> Site:
    here = Site(shared_router, engines)
    here.apply(next_generation())
    return here


def next_generation() -> int:
    return next(_GENERATION)


def empty_table() -> RouteTable:
    return RouteTable(namespace="team")
