"""Which adapters have which names: loaded one at a time, bounded in number, gone when their last request has ended."""

import asyncio
import itertools
import time
from dataclasses import dataclass

from finetune_inference.server.adapters import files, template
from finetune_inference.server.adapters.reading import Adapter, Reader
from finetune_inference.server.adapters.refusals import AdapterRefused, not_found
from finetune_inference.server.engine import Engine
from finetune_inference.server.metrics import Metrics
from finetune_inference.server.sequence import Preamble


@dataclass(frozen=True)
class Loaded:
    """``key`` is what rows are marked with: another one each time, so a name that comes back never meets what is still leaving."""

    name: str
    key: str
    root: str
    kind: str
    rank: int
    created: int
    stops: frozenset[int]
    preamble: Preamble | None


class Registry:
    """Lives in the event loop."""

    def __init__(self, engine: Engine, reader: Reader, served: template.Served, metrics: Metrics, *, most: int, base_name: str) -> None:
        self._engine = engine
        self._reader = reader
        self._served = served
        self._metrics = metrics
        self._most = most
        self._base_name = base_name
        self._names: dict[str, Loaded] = {}
        self._held = 0
        self._numbers = itertools.count(1)
        self._one_at_a_time = asyncio.Lock()

    def find(self, name: str) -> Loaded | None:
        return self._names.get(name)

    def all(self) -> list[Loaded]:
        return list(self._names.values())

    async def load(self, name: str, path: str) -> Loaded:
        """Read, check and install an adapter.

        Raises:
            AdapterRefused: with the reason and vLLM's status for it.
        """
        async with self._one_at_a_time:
            self._refuse_taken(name)
            adapter, stops = await asyncio.to_thread(self._read, path)
            key = f"{name}#{next(self._numbers)}"
            self._held += 1
            await asyncio.wrap_future(self._engine.install(key, adapter.changes))
            loaded = Loaded(name, key, path, adapter.kind, adapter.rank, int(time.time()), stops, adapter.preamble)
            self._names[name] = loaded
            self._metrics.adapter_loaded(name, adapter.rank)
            return loaded

    async def unload(self, name: str) -> None:
        """Take the name away now, and the weights when the last request that uses them has ended; returns then.

        Raises:
            AdapterRefused: 404, there is no such adapter.
        """
        loaded = self._names.pop(name, None)
        if loaded is None:
            raise not_found(f"The lora adapter '{name}' cannot be found.")
        await asyncio.shield(asyncio.ensure_future(self._let_go(loaded)))

    async def _let_go(self, loaded: Loaded) -> None:
        await asyncio.wrap_future(self._engine.remove(loaded.key))
        self._held -= 1
        if loaded.name not in self._names:
            self._metrics.adapter_gone(loaded.name)

    def _read(self, path: str) -> tuple[Adapter, frozenset[int]]:
        found = files.find(path)
        stops = template.stop_tokens(found.folder, self._served)
        return self._reader.read(found), frozenset(stops)

    def _refuse_taken(self, name: str) -> None:
        if name == self._base_name:
            raise AdapterRefused(f"lora_name: {name} is the base model's name; choose another")
        if name in self._names:
            raise AdapterRefused(f"The lora adapter '{name}' has already been loaded.")
        if self._held >= self._most:
            names = ", ".join(sorted(self._names)) or "adapters that are leaving"
            raise AdapterRefused(f"all {self._most} adapter slots are taken by {names}; unload one or raise --max-loras")
