"""The reflector's store equals the server's objects in the end, whatever happens to its list and its watch."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from finetune_operator.cluster.cache import Store, version_of
from finetune_operator.cluster.errors import Forbidden
from finetune_operator.cluster.kube import Selection
from finetune_operator.cluster.reflector import CREDENTIALS_PATIENCE, Reflector
from finetune_operator.cluster.resources import CONFIG_MAPS
from tests.unit.kube.fake_api import FakeApi, serving

SELECTION = Selection(namespace="default")


class Copy:
    """A store, and everything it was told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str]] = []
        self.store = Store(lambda manifest: manifest, self._changed, index=lambda _manifest: None)

    def _changed(self, manifest: dict[str, Any]) -> None:
        metadata = manifest["metadata"]
        present = self.store.get("default", metadata["name"]) is not None
        self.told.append(("present" if present else "gone", metadata["name"]))

    def versions(self) -> dict[str, int]:
        return {item["metadata"]["name"]: version_of(item) for item in self.store.values()}


async def eventually(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110  stores announce nothing
            await asyncio.sleep(0.005)


def matches(copy: Copy, api: FakeApi) -> bool:
    return copy.versions() == {name: version_of(item) for name, item in api.objects.items()}


@asynccontextmanager
async def reflecting(api: FakeApi, copy: Copy, *, silence: float = 30.0, restarts: Counter[str] | None = None) -> AsyncIterator[Reflector]:
    counted = Counter[str]() if restarts is None else restarts

    def count(reason: str) -> None:
        counted[reason] += 1

    async with serving(api) as kube:
        reflector = Reflector(kube, copy.store, CONFIG_MAPS, SELECTION, silence=silence, on_restart=count)
        task = asyncio.create_task(reflector.run())
        try:
            yield reflector
            assert not task.done(), task.exception()
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def test_it_lists_in_pages_and_then_follows() -> None:
    api, copy = FakeApi(), Copy()
    api.max_page = 7
    for number in range(30):
        await api.put(f"c{number}")
    async with reflecting(api, copy) as reflector:
        await asyncio.wait_for(reflector.synced.wait(), 60)
        assert matches(copy, api)
        await api.put("c1")
        await api.put("new")
        await api.delete("c2")
        await eventually(lambda: matches(copy, api))
        assert api.lists == 1
        assert ("gone", "c2") in copy.told


async def test_a_broken_watch_goes_on_where_it_was_without_listing_again() -> None:
    api, copy, restarts = FakeApi(), Copy(), Counter[str]()
    await api.put("a")
    async with reflecting(api, copy, restarts=restarts) as reflector:
        await reflector.synced.wait()
        await eventually(lambda: api.watches == 1)
        api.cut()
        await api.put("b")
        await api.delete("a")
        await eventually(lambda: matches(copy, api))
        assert api.lists == 1
        assert restarts["unavailable"] + restarts["closed"] >= 1


async def test_after_410_every_missed_deletion_is_told() -> None:
    api, copy = FakeApi(), Copy()
    for number in range(20):
        await api.put(f"c{number}")
    async with reflecting(api, copy) as reflector:
        await reflector.synced.wait()
        await eventually(lambda: api.watches == 1)
        api.refuse = 503
        api.cut()
        for number in range(10):
            await api.delete(f"c{number}")
        api.compact()
        copy.told.clear()
        api.refuse = None
        await eventually(lambda: matches(copy, api))
        assert sorted(name for what, name in copy.told if what == "gone") == sorted(f"c{number}" for number in range(10))


async def test_a_name_that_was_deleted_and_created_in_a_gap_is_another_object() -> None:
    api, copy = FakeApi(), Copy()
    await api.put("a")
    async with reflecting(api, copy) as reflector:
        await reflector.synced.wait()
        await eventually(lambda: api.watches == 1)
        before = copy.store.get("default", "a")
        api.cut()
        await api.delete("a")
        await api.put("a")
        api.compact()
        await eventually(lambda: matches(copy, api))
        after = copy.store.get("default", "a")
        assert before is not None
        assert after is not None
        assert before["metadata"]["uid"] != after["metadata"]["uid"]


async def test_a_silent_connection_is_given_up_and_opened_again() -> None:
    api, copy = FakeApi(), Copy()
    await api.put("a")
    async with reflecting(api, copy, silence=0.2) as reflector:
        await reflector.synced.wait()
        await eventually(lambda: api.watches >= 1)
        api.silent = True
        await api.put("b")
        opened = api.watches
        await eventually(lambda: api.watches > opened)
        api.silent = False
        await eventually(lambda: matches(copy, api))
        assert api.lists == 1


async def test_a_list_whose_continue_token_expires_starts_over() -> None:
    api, copy = FakeApi(), Copy()
    api.max_page = 5
    for number in range(20):
        await api.put(f"c{number}")
    pages = 0

    async def expire_once() -> None:
        nonlocal pages
        pages += 1
        if pages == 2:
            api.compact()

    api.on_page = expire_once
    async with reflecting(api, copy):
        await eventually(lambda: matches(copy, api))
        assert api.lists == 2


async def test_bookmarks_move_the_watch_forward_so_that_compaction_does_not_hurt() -> None:
    api, copy = FakeApi(), Copy()
    await api.put("a")
    async with reflecting(api, copy) as reflector:
        await reflector.synced.wait()
        await eventually(lambda: api.watches == 1)
        api.version += 500  # other kinds changed meanwhile
        await api.bookmark()
        await eventually(lambda: reflector._version == str(api.version))
        api.compact()
        api.cut()
        await api.put("b")
        await eventually(lambda: matches(copy, api))
        assert api.lists == 1


async def test_a_refusal_is_retried_and_never_ends_the_reflector() -> None:
    api, copy, restarts = FakeApi(), Copy(), Counter[str]()
    await api.put("a")
    api.refuse = 403
    async with reflecting(api, copy, restarts=restarts) as reflector:
        await eventually(lambda: restarts["refused"] >= 2)
        assert not reflector.synced.is_set()
        api.refuse = None
        await eventually(lambda: matches(copy, api))


async def test_credentials_that_are_refused_for_a_minute_end_the_process_so_that_they_are_read_anew() -> None:
    api, moment = FakeApi(), [0.0]
    api.refuse = 401

    async def sleep(_seconds: float) -> None:
        moment[0] += CREDENTIALS_PATIENCE / 4
        await asyncio.sleep(0)

    async with serving(api) as kube:
        reflector = Reflector(kube, Copy().store, CONFIG_MAPS, SELECTION, sleep=sleep, clock=lambda: moment[0])
        with pytest.raises(Forbidden, match="refused by the test"):
            await asyncio.wait_for(reflector.run(), 60)
    assert moment[0] >= CREDENTIALS_PATIENCE


async def test_our_own_write_is_seen_at_once_and_survives_a_list_that_is_older() -> None:
    copy = Copy()
    created = {"metadata": {"name": "a", "namespace": "default", "uid": "1", "resourceVersion": "50"}}
    copy.store.put_own(created)
    copy.store.replace(set(), "49", "default")
    assert copy.versions() == {"a": 50}
    copy.store.replace(set(), "51", "default")
    assert copy.versions() == {}


async def test_an_answer_that_comes_after_the_watch_told_the_deletion_raises_no_ghost() -> None:
    copy = Copy()
    created = {"metadata": {"name": "a", "namespace": "default", "uid": "1", "resourceVersion": "50"}}
    copy.store.put(created)
    copy.store.remove({"metadata": {**created["metadata"], "resourceVersion": "51"}})
    copy.store.put_own(created)
    assert copy.versions() == {}


async def test_nothing_older_overwrites_something_newer() -> None:
    copy = Copy()
    metadata = {"name": "a", "namespace": "default", "uid": "1"}
    copy.store.put({"metadata": {**metadata, "resourceVersion": "60"}})
    copy.store.put({"metadata": {**metadata, "resourceVersion": "55"}})
    assert copy.versions() == {"a": 60}


async def test_the_late_deletion_of_a_predecessor_leaves_the_successor_alone() -> None:
    copy = Copy()
    copy.store.put({"metadata": {"name": "a", "namespace": "default", "uid": "2", "resourceVersion": "70"}})
    copy.store.remove({"metadata": {"name": "a", "namespace": "default", "uid": "1", "resourceVersion": "69"}})
    assert copy.versions() == {"a": 70}


@pytest.mark.parametrize("seed", range(8))
async def test_whatever_happens_the_copy_becomes_true(seed: int) -> None:
    source = random.Random(seed)
    api, copy = FakeApi(page_faults=0.15, seed=seed), Copy()
    api.max_page = source.choice([1, 3, 10, 100])
    for number in range(source.randrange(40)):
        await api.put(f"c{number}")
    async with reflecting(api, copy, silence=0.3):
        for _ in range(120):
            action = source.random()
            name = f"c{source.randrange(25)}"
            if action < 0.5:
                await api.put(name)
            elif action < 0.75:
                await api.delete(name)
            elif action < 0.80:
                api.cut()
            elif action < 0.84:
                api.compact()
            elif action < 0.88:
                api.cut()
                api.compact()
            elif action < 0.92:
                api.duplicate = not api.duplicate
            elif action < 0.94:
                api.silent = not api.silent
            elif action < 0.97:
                await api.bookmark()
            else:
                api.refuse = source.choice([None, 429, 500, 503])
            if source.random() < 0.3:
                await asyncio.sleep(source.uniform(0, 0.01))
        api.refuse, api.silent, api.page_faults = None, False, 0.0
        await eventually(lambda: matches(copy, api))
        last = {name: what for what, name in copy.told}
        assert {name for name, what in last.items() if what == "present"} == set(api.objects)
