"""The sweep finds what the watch missed, and the resync spreads its questions."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from finetune_operator.cluster.cache import Key, ParentStore
from finetune_operator.cluster.errors import NotFound, Unavailable
from finetune_operator.cluster.kube import Page, Selection
from finetune_operator.cluster.resources import Resource
from finetune_operator.control.queue import WorkQueue
from finetune_operator.control.resync import Sweep, resync


def finetunejob(name: str, version: int, uid: str = "u") -> dict[str, Any]:
    return {"metadata": {"namespace": "ns", "name": name, "uid": f"{uid}-{name}", "resourceVersion": str(version)}}


class Lists:
    """What exists."""

    def __init__(self, *objects: dict[str, Any]) -> None:
        self.objects = {item["metadata"]["name"]: item for item in objects}
        self.away = False

    async def pages(self, resource: Resource, selection: Selection, *, page_size: int = 100) -> AsyncIterator[Page]:
        if self.away:
            raise Unavailable("no route")
        items = list(self.objects.values())
        for start in range(0, len(items), 2):
            yield Page(items[start : start + 2], "1", max(0, len(items) - start - 2))

    async def get(self, resource: Resource, namespace: str | None, name: str) -> dict[str, Any]:
        if name not in self.objects:
            raise NotFound("not found", status=404)
        return self.objects[name]


def known(*objects: dict[str, Any]) -> ParentStore:
    store = ParentStore()
    for item in objects:
        store.put(item)
    return store


async def taken(queue: WorkQueue[Key]) -> set[str]:
    found = set()
    while len(queue):
        key = await queue.get()
        queue.done(key)
        found.add(key.name)
    return found


async def test_what_was_deleted_unseen_is_forgotten_and_its_key_looked_at() -> None:
    parents, queue = known(finetunejob("a", 1), finetunejob("b", 2)), WorkQueue[Key]()
    assert await Sweep(Lists(finetunejob("a", 1)), parents, queue).sweep() == 0
    assert Key("ns", "b") not in parents
    assert await taken(queue) == {"b"}


async def test_whoever_leans_on_an_object_hears_that_it_was_changed_or_deleted_unseen() -> None:
    heard = list[str]()
    parents = ParentStore(
        on_put=lambda key, found: heard.append(f"{key.name} {found['metadata']['uid']}"), on_gone=lambda key: heard.append(f"no {key.name}")
    )
    for item in (finetunejob("a", 1), finetunejob("b", 2), finetunejob("c", 3, uid="old")):
        parents.put(item)
    heard.clear()
    lists = Lists(finetunejob("a", 9), finetunejob("c", 8, uid="new"))
    await Sweep(lists, parents, WorkQueue[Key]()).sweep()
    assert heard == ["no b", "a u-a", "no c", "c new-c"]
    await Sweep(lists, parents, WorkQueue[Key]()).sweep()
    assert len(heard) == 4, "once"


async def test_what_changed_unseen_is_fetched() -> None:
    parents, queue = known(finetunejob("a", 1)), WorkQueue[Key]()
    lists = Lists(finetunejob("a", 9), finetunejob("new", 10))
    assert await Sweep(lists, parents, queue).sweep() == 2
    assert parents.version(Key("ns", "a")) == 9
    assert await taken(queue) == {"a", "new"}


async def test_a_name_that_is_another_object_by_now_replaces_its_predecessor() -> None:
    parents, queue = known(finetunejob("a", 1, uid="old")), WorkQueue[Key]()
    await Sweep(Lists(finetunejob("a", 7, uid="new")), parents, queue).sweep()
    assert parents.uid(Key("ns", "a")) == "new-a"


async def test_an_object_that_arrives_during_the_sweep_is_not_taken_for_a_deleted_one() -> None:
    parents, queue = known(finetunejob("a", 1)), WorkQueue[Key]()

    class Meanwhile(Lists):
        async def pages(self, resource: Resource, selection: Selection, *, page_size: int = 100) -> AsyncIterator[Page]:
            parents.put(finetunejob("a", 2))
            parents.put(finetunejob("late", 3))
            yield Page([], "1")

    await Sweep(Meanwhile(), parents, queue).sweep()
    assert Key("ns", "late") in parents
    assert Key("ns", "a") in parents


async def test_an_api_server_that_is_away_ends_nothing() -> None:
    lists, parents, rounds, third = Lists(finetunejob("a", 1)), ParentStore(), list[float](), asyncio.Event()
    lists.away = True

    async def sleep(seconds: float) -> None:
        rounds.append(seconds)
        if len(rounds) == 2:
            lists.away = False
        if len(rounds) == 3:
            third.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(Sweep(lists, parents, WorkQueue[Key](), sleep=sleep).run())
    await asyncio.wait_for(third.wait(), 60)
    assert Key("ns", "a") in parents
    assert not task.done()
    task.cancel()


async def test_the_resync_asks_for_every_key_within_its_period_and_never_in_a_burst() -> None:
    queue, pauses, whole = WorkQueue[Key](), list[float](), asyncio.Event()
    keys = [Key("ns", f"j{number}") for number in range(10)]

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) > len(keys):
            whole.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(resync(lambda: list(keys), queue, 600.0, sleep=sleep))
    await asyncio.wait_for(whole.wait(), 60)
    assert await taken(queue) == {key.name for key in keys}
    assert all(30.0 <= pause <= 90.0 for pause in pauses)
    task.cancel()
