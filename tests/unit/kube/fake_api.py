"""A list-and-watch server in this process, over real HTTP, that can do everything a real one does to a watch on a bad day."""

import asyncio
import json
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web
from kubernetes.aio.client import Configuration

from finetune_operator.cluster.kube import KubeApi

Object = dict[str, Any]


class FakeApi:
    """ConfigMaps of one namespace, with resource versions, pages, bookmarks, compaction and faults."""

    def __init__(self, page_faults: float = 0.0, seed: int = 0) -> None:
        self.objects: dict[str, Object] = {}
        self.version = 100
        self.log: list[tuple[int, str, Object]] = []
        self.compacted = 0
        self.lists = 0
        self.watches = 0
        self.silent = False
        self.duplicate = False
        self.refuse: int | None = None
        self.max_page = 1000
        self.on_page: Any = None
        self._uid = 0
        self._cut: set[web.StreamResponse] = set()
        self._transports: dict[web.StreamResponse, asyncio.BaseTransport] = {}
        self._news = asyncio.Condition()
        self._random = random.Random(seed)
        self.page_faults = page_faults
        self._snapshots: dict[str, tuple[int, list[Object]]] = {}

    # What happens to the objects.

    async def put(self, name: str) -> Object:
        """Create, or change."""
        known = self.objects.get(name)
        self.version += 1
        if known is None:
            self._uid += 1
        uid = known["metadata"]["uid"] if known else f"uid-{self._uid}"
        document = {
            "kind": "ConfigMap",
            "metadata": {"name": name, "namespace": "default", "uid": uid, "resourceVersion": str(self.version)},
            "data": {"version": str(self.version)},
        }
        self.objects[name] = document
        await self._record("MODIFIED" if known else "ADDED", document)
        return document

    async def delete(self, name: str) -> None:
        document = self.objects.pop(name, None)
        if document is not None:
            self.version += 1
            last = {**document, "metadata": {**document["metadata"], "resourceVersion": str(self.version)}}
            await self._record("DELETED", last)

    async def bookmark(self) -> None:
        await self._record("BOOKMARK", {"kind": "ConfigMap", "metadata": {"resourceVersion": str(self.version)}})

    def compact(self) -> None:
        """Forget history: whoever is behind gets 410."""
        self.compacted = self.version
        self._snapshots.clear()

    def cut(self) -> None:
        """Break every watch in the middle of what it is doing."""
        for response in list(self._cut):
            self._transports[response].close()

    async def _record(self, kind: str, document: Object) -> None:
        async with self._news:
            self.log.append((self.version, kind, document))
            self._news.notify_all()

    # HTTP.

    async def handle(self, request: web.Request) -> web.StreamResponse:
        if self.refuse is not None:
            return _status(self.refuse, "TestRefusal", "refused by the test")
        if request.query.get("watch") == "true":
            self.watches += 1
            return await self._watch(request)
        return await self._list(request)

    async def _list(self, request: web.Request) -> web.StreamResponse:
        limit = min(int(request.query.get("limit", "500")), self.max_page)
        token = request.query.get("continue")
        if token is None:
            self.lists += 1
            start, version, items = 0, self.version, [self.objects[name] for name in sorted(self.objects)]
        else:
            key, offset = token.split("/")
            if key not in self._snapshots:
                return _status(410, "Expired", "The provided continue parameter is too old")
            start = int(offset)
            version, items = self._snapshots[key]
        if self._random.random() < self.page_faults:
            return _status(503, "ServiceUnavailable", "not now")
        key = f"{version}-{id(items)}"
        self._snapshots[key] = (version, items)
        end = start + limit
        metadata = {"resourceVersion": str(version)}
        if end < len(items):
            metadata["continue"] = f"{key}/{end}"
        body = json.dumps({"kind": "ConfigMapList", "metadata": metadata, "items": items[start:end]})
        if self.on_page is not None:
            await self.on_page()
        return web.Response(text=body, content_type="application/json")

    async def _watch(self, request: web.Request) -> web.StreamResponse:
        position = int(request.query["resourceVersion"])
        if position < self.compacted:
            if self._random.random() < 0.5:
                return _status(410, "Expired", f"too old resource version: {position}")
            response = await self._open(request)
            error = {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old resource version"}
            await response.write(_line("ERROR", error))
            return response
        response = await self._open(request)
        self._cut.add(response)
        assert request.transport is not None
        self._transports[response] = request.transport
        backlog = [entry for entry in self.log if entry[0] > position or (entry[0] == position and entry[1] == "BOOKMARK")]
        known = len(self.log)
        try:
            while True:
                for _, kind, document in backlog:
                    if self.silent:
                        await asyncio.sleep(3600)
                    line = _line(kind, document)
                    half = len(line) // 2
                    await response.write(line[:half])
                    await response.write(line[half:])
                    if self.duplicate and kind != "BOOKMARK":
                        await response.write(line)
                async with self._news:
                    while len(self.log) <= known:
                        await self._news.wait()
                    backlog, known = self.log[known:], len(self.log)
        except (ConnectionError, asyncio.CancelledError):
            return response
        finally:
            self._cut.discard(response)
            self._transports.pop(response, None)

    async def _open(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        return response


def _line(kind: str, document: Object) -> bytes:
    return json.dumps({"type": kind, "object": document}).encode() + b"\n"


def _status(code: int, reason: str, message: str) -> web.Response:
    body = {"kind": "Status", "code": code, "reason": reason, "message": message}
    return web.Response(status=code, text=json.dumps(body), content_type="application/json")


@asynccontextmanager
async def serving(api: FakeApi) -> AsyncIterator[KubeApi]:
    """The fake on a free port, and a client of it."""
    application = web.Application()
    application.router.add_route("*", "/{tail:.*}", api.handle)
    runner = web.AppRunner(application, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    configuration = Configuration()
    configuration.host = f"http://127.0.0.1:{runner.addresses[0][1]}"
    kube = KubeApi(configuration)
    try:
        yield kube
    finally:
        await kube.close()
        await runner.cleanup()
