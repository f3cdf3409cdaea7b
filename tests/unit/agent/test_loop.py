"""The loop between looks and steps, with an engine that answers when the test lets it."""

import asyncio
import contextlib
from pathlib import Path, PurePosixPath

from finetune_inference.agent.fingerprints import Fingerprints
from finetune_inference.agent.loop import Agent, Pace
from finetune_inference.agent.metrics import Metrics
from finetune_inference.agent.sources import FileSource, LastGood
from finetune_inference.agent.steps import Steps
from finetune_inference.artifact.store import Store
from finetune_inference.contract import DesiredSet, DesiredVersion, ServedBase
from finetune_inference.engine import ServedModel
from tests.engines.artifacts import AdapterFiles, publish
from tests.unit.agent.worlds import BASE, NOW


class SlowEngine:
    """Takes its list of models at once, and answers with it only when ``may_list`` is set; loads end when ``may_load`` is."""

    def __init__(self) -> None:
        self.may_list, self.may_load = asyncio.Event(), asyncio.Event()
        self.may_list.set()
        self.loads: list[str] = []
        self.loading, self.listing = asyncio.Event(), asyncio.Event()
        self._adapters: dict[str, str] = {}

    async def models(self) -> tuple[ServedModel, ...]:
        found = (BASE, *(ServedModel(name, root, "base") for name, root in self._adapters.items()))
        self.listing.set()
        await self.may_list.wait()
        return found

    async def started(self) -> str | None:
        return "1.00"

    async def load(self, name: str, path: str) -> None:
        self.loads.append(name)
        self.loading.set()
        await self.may_load.wait()
        self._adapters[name] = path

    async def unload(self, name: str) -> None:
        del self._adapters[name]

    async def first_token(self, model: str, prompt: str, alternatives: int) -> dict[str, float]:
        return {"a": -1.0 if model == "base" else -2.0}


def agent_of(engine: SlowEngine, desired: DesiredSet, folder: Path) -> Agent:
    """Looks for nothing by itself once the engine has answered."""
    (folder / "desired.json").write_text(desired.to_json(), encoding="utf-8")
    store = Store(folder / "store", {"adapters": folder / "volume"})
    store.open()
    steps = Steps(engine, store, Fingerprints(folder / "fingerprints"), Metrics(), clock=lambda: NOW)
    source, kept = FileSource(folder / "desired.json"), LastGood(folder / "kept.json")
    return Agent(steps, source, kept, PurePosixPath(store.folder), clock=lambda: NOW, pace=Pace(audit=3600.0))


async def test_an_order_to_end_that_meets_a_wake_ends_it(tmp_path: Path) -> None:
    engine = SlowEngine()
    agent = agent_of(engine, DesiredSet(generation=1, base=ServedBase(name="base")), tmp_path)
    running = asyncio.create_task(agent.run())
    async with asyncio.timeout(30):
        assert await agent.look_now(30.0)
        while agent.status().applied_generation != 1:  # noqa: ASYNC110  nothing announces that it has come to rest
            await asyncio.sleep(0.001)
        while not agent._wake._waiters:  # type: ignore[attr-defined]  # noqa: ASYNC110  it pauses: only then can both meet
            await asyncio.sleep(0.001)
        agent._wake.set()
        await asyncio.sleep(0)
        running.cancel()
        done, _ = await asyncio.wait([running], timeout=10)
    assert done


async def test_a_look_that_began_before_a_load_ended_does_not_make_it_load_again(tmp_path: Path) -> None:
    artifact, engine = publish(AdapterFiles(), tmp_path / "volume"), SlowEngine()
    wanted = DesiredVersion(name=artifact.name("support"), uri=artifact.uri, digest=artifact.digest)
    desired = DesiredSet(generation=1, base=ServedBase(name="base"), versions=[wanted])
    agent = agent_of(engine, desired, tmp_path)
    running = asyncio.create_task(agent.run())
    async with asyncio.timeout(30):
        await engine.loading.wait()
        engine.may_list.clear()
        engine.listing.clear()
        looking = asyncio.create_task(agent.look_now(30.0))
        await engine.listing.wait()  # this look has seen no adapter yet
        engine.may_load.set()
        while agent._observed.loading is not None:  # noqa: ASYNC110  the end of the step is what is waited for
            await asyncio.sleep(0.001)
        engine.may_list.set()
        await looking
        while not agent.status().ready:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
    assert engine.loads == [wanted.name]
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running
