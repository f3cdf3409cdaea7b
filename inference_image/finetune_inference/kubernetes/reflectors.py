"""Several reflectors that keep the same of their objects, and of which some come and go."""

import asyncio
from collections.abc import Callable, Iterable, Iterator
from typing import Generic, Self, TypeVar

from finetune_inference.kubernetes.client import ApiClient, Object
from finetune_inference.kubernetes.reflector import Reflector
from finetune_inference.kubernetes.selection import Selection

T = TypeVar("T")


class Reflectors(Generic[T]):
    """``news`` is set after every change, and when one of them ends, which only a defect can bring about."""

    def __init__(self, api: ApiClient, kept: Callable[[Object], T], news: asyncio.Event) -> None:
        self._api = api
        self._kept = kept
        self._news = news
        self._running: dict[Selection, tuple[Reflector[T], asyncio.Task[None]]] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        tasks = [task for _, task in self._running.values()]
        self.follow(())
        await asyncio.gather(*tasks, return_exceptions=True)

    def __iter__(self) -> Iterator[Reflector[T]]:
        return (reflector for reflector, _ in self._running.values())

    def __getitem__(self, selection: Selection) -> Reflector[T]:
        return self._running[selection][0]

    def follow(self, selections: Iterable[Selection]) -> None:
        """Exactly these; one that stays keeps what it has."""
        wanted = dict.fromkeys(selections)
        for selection in self._running.keys() - wanted.keys():
            self._running.pop(selection)[1].cancel()
        for selection in wanted.keys() - self._running.keys():
            reflector = Reflector(self._api, selection, self._kept, self._news.set)
            task = asyncio.create_task(reflector.run())
            task.add_done_callback(lambda _: self._news.set())
            self._running[selection] = reflector, task

    def raise_defect(self) -> None:
        """Raises what ended one of them."""
        for _, task in self._running.values():
            if task.done():
                task.result()
