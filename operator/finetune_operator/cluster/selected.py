"""Pods of the user's own, found by the labels that AdapterDeployments name: a watch for each selector, while somebody names it.

Nothing is kept of pods that nobody selects, and nothing is ever written to those that are.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Final

from finetune_operator.cluster.cache import Key, Store
from finetune_operator.cluster.kube import Manifest, Selection
from finetune_operator.cluster.projections import project_pod
from finetune_operator.cluster.reflector import Reflector, Source
from finetune_operator.cluster.resources import PODS

_OVER: Final = ("Succeeded", "Failed")


@dataclass(frozen=True)
class _Watch:
    store: Store
    reflector: Reflector
    task: "asyncio.Task[None]"


class SelectedPods:
    """Belongs to one event loop. ``wake`` hears whose pods have changed or are known now, ``gone`` of uids of pods that are no more."""

    def __init__(
        self,
        source: Source,
        wake: Callable[[Key], None],
        *,
        gone: Callable[[str, str], None] = lambda _namespace, _uid: None,
        on_restart: Callable[[str], None] = lambda _reason: None,
    ) -> None:
        self._source = source
        self._wake = wake
        self._gone = gone
        self._on_restart = on_restart
        self._of: dict[Key, Selection] = {}
        self._watches: dict[Selection, _Watch] = {}
        self._defect: asyncio.Future[None] | None = None

    def follow(self, key: Key, labels: Mapping[str, str]) -> None:
        """What this deployment selects now; nothing for no labels."""
        wanted = Selection(key.namespace, labels=selector(labels)) if labels else None
        before = self._of.get(key)
        if before == wanted:
            return
        if wanted is None:
            del self._of[key]
        else:
            self._of[key] = wanted
            if wanted not in self._watches:
                self._watches[wanted] = self._begin(wanted)
        if before is not None and before not in self._of.values():
            self._end(self._watches.pop(before))

    def follows(self, key: Key) -> bool:
        return key in self._of

    def known(self, key: Key) -> bool:
        """Whether all pods it selects are known; before that there is nothing to be decided."""
        return key in self._of and self._watches[self._of[key]].reflector.synced.is_set()

    def refusal(self, key: Key) -> str:
        """Why the API server has never listed them, in its words; empty where it has, or has not answered yet."""
        watch = self._watches.get(self._of[key]) if key in self._of else None
        return "" if watch is None or watch.reflector.synced.is_set() else watch.reflector.refusal

    def of(self, key: Key) -> list[Manifest]:
        """Pods that it selects and that are not on their way out, by name."""
        found = self._watches[self._of[key]].store.of("") if key in self._of else []
        return [pod for pod in found if not _leaving(pod)]

    def sharing(self, key: Key) -> list[Key]:
        """Other deployments that select at least one of the same pods."""
        own = {pod["metadata"]["uid"] for pod in self.of(key)}
        near = [other for other in self._of if other != key and other.namespace == key.namespace]
        return [other for other in near if any(pod["metadata"]["uid"] in own for pod in self.of(other))]

    def __len__(self) -> int:
        return sum(len(watch.store) for watch in self._watches.values())

    async def run(self) -> None:
        """Until cancelled; raises what ended a watch."""
        self._defect = asyncio.get_running_loop().create_future()
        for watch in self._watches.values():
            if watch.task.done():
                self._ended(watch.task)
        await self._defect

    async def close(self) -> None:
        tasks = [watch.task for watch in self._watches.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _begin(self, selection: Selection) -> _Watch:
        store = Store(project_pod, partial(self._changed, selection), index=lambda _pod: "")
        reflector = Reflector(self._source, store, PODS, selection, on_restart=self._on_restart)
        task = asyncio.create_task(self._watch(reflector, selection))
        task.add_done_callback(self._ended)
        return _Watch(store, reflector, task)

    def _end(self, watch: _Watch) -> None:
        """Nobody selects these pods any more, unless by other labels too."""
        watch.task.cancel()
        still = {pod["metadata"]["uid"] for other in self._watches.values() for pod in other.store.values()}
        for pod in watch.store.values():
            if pod["metadata"]["uid"] not in still:
                self._gone(pod["metadata"]["namespace"], pod["metadata"]["uid"])

    async def _watch(self, reflector: Reflector, selection: Selection) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(reflector.run())
            await reflector.synced.wait()
            self._wake_all(selection)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        if not task.cancelled() and (error := task.exception()) is not None and self._defect is not None and not self._defect.done():
            self._defect.set_exception(error)

    def _changed(self, selection: Selection, pod: Manifest) -> None:
        metadata = pod["metadata"]
        watch = self._watches.get(selection)
        if watch is None or watch.store.get(metadata["namespace"], metadata["name"]) is None:
            self._gone(metadata["namespace"], metadata["uid"])
        self._wake_all(selection)

    def _wake_all(self, selection: Selection) -> None:
        for key in [key for key, followed in self._of.items() if followed == selection]:
            self._wake(key)


def selector(labels: Mapping[str, str]) -> str:
    """As the API server reads it."""
    return ",".join(f"{name}={value}" for name, value in sorted(labels.items()))


def _leaving(pod: Manifest) -> bool:
    return bool(pod["metadata"].get("deletionTimestamp")) or (pod.get("status") or {}).get("phase") in _OVER
