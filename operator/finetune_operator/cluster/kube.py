"""The one door to the API server, and the only module that imports the client library.

It uses the raw ``call_api`` of the asynchronous client: dictionaries in, dictionaries out, no generated models (they validate, are slow to
build and change with every release). Every status code is checked here and becomes one of the classes of `errors`.
Writes pass a fence first: an operator that is no longer sure to lead must not write.
"""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import aiohttp
import orjson
from kubernetes.aio import client, config

from finetune_operator.api.base import FIELD_MANAGER
from finetune_operator.cluster.errors import ApiError, Invalid, Unavailable, error_from_response, error_from_status
from finetune_operator.cluster.resources import PODS, Resource

PAGE_SIZE: Final = 100
CONNECTIONS: Final = 64
REQUEST_TIMEOUT: Final = aiohttp.ClientTimeout(total=30, sock_connect=5)
SILENCE: Final = 90.0
"""Seconds without a byte after which a watch counts as dead; bookmarks come about once a minute, and sometimes a little later."""

_JSON = "application/json"
_APPLY = "application/apply-patch+yaml"
_MERGE = "application/merge-patch+json"
_METADATA_ONLY = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
_METADATA_ONLY_WATCH = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
_BROKEN = (aiohttp.ClientError, TimeoutError, ConnectionError)

Manifest = dict[str, Any]
Observer = Callable[[str, str, int, float], None]
"""Called after every request with verb, resource, status code (0: no answer) and seconds."""


@dataclass(frozen=True)
class Page:
    """``remaining`` is how many objects come after this page."""

    items: list[Manifest]
    resource_version: str
    remaining: int = 0


@dataclass(frozen=True)
class WatchEvent:
    """``type`` is ADDED, MODIFIED, DELETED or BOOKMARK; an ERROR is raised instead."""

    type: str
    object: Manifest


@dataclass(frozen=True)
class Selection:
    """Which objects of a kind: one namespace or all, and selectors that the server applies."""

    namespace: str | None = None
    labels: str = ""
    fields: str = ""
    metadata_only: bool = False

    def query(self) -> list[tuple[str, str]]:
        pairs = [("labelSelector", self.labels), ("fieldSelector", self.fields)]
        return [(key, value) for key, value in pairs if value]


def _open_fence() -> None:
    """The fence of a process that needs no leader."""


class KubeApi:
    """Requests of one operator process. Create it inside the event loop with `connect`, and close it."""

    def __init__(self, configuration: client.Configuration, observe: Observer | None = None) -> None:
        configuration.connection_pool_maxsize = CONNECTIONS
        configuration.client_session_kwargs = {"trust_env": False}
        self._configuration = configuration
        self._client = client.ApiClient(configuration)
        self._client.user_agent = FIELD_MANAGER
        self._observe = observe or (lambda _verb, _resource, _code, _seconds: None)
        self.fence: Callable[[], None] = _open_fence
        """Raises when this process may not write any more; asked before every write."""

    @classmethod
    async def connect(cls, kubeconfig: Path | None = None, observe: Observer | None = None) -> "KubeApi":
        """From a kubeconfig file, or from the service account of the pod. Raises `Invalid` when there is neither."""
        configuration = client.Configuration()
        try:
            if kubeconfig is not None:
                await config.load_kube_config(config_file=str(kubeconfig), client_configuration=configuration, persist_config=False)
            else:
                config.load_incluster_config(client_configuration=configuration)
        except (config.ConfigException, OSError) as error:
            where = f"kubeconfig {kubeconfig}" if kubeconfig else "the pod's service account"
            raise Invalid(f"cannot read the cluster's address from {where}: {error}") from error
        return cls(configuration, observe)

    async def close(self) -> None:
        await self._client.close()

    # Writes.

    async def create(self, resource: Resource, manifest: Manifest) -> Manifest:
        """POST. Raises `Conflict` with ``already_exists`` when the name is taken."""
        path = resource.path(manifest["metadata"].get("namespace"))
        return await self._write("POST", "create", resource, path, manifest, query=[("fieldManager", FIELD_MANAGER)])

    async def apply(self, resource: Resource, manifest: Manifest, *, force: bool = True) -> Manifest:
        """Server-side apply of a mutable object of ours; ``force`` takes fields back that somebody else changed."""
        metadata = manifest["metadata"]
        path = resource.path(metadata.get("namespace"), metadata["name"])
        return await self._apply(resource, path, manifest, force=force)

    async def apply_status(self, resource: Resource, manifest: Manifest) -> Manifest:
        """Server-side apply of the whole status.

        With ``metadata.resourceVersion`` a change in between, or another object of that name, is a `Conflict`.
        """
        metadata = manifest["metadata"]
        path = resource.path(metadata.get("namespace"), metadata["name"], "status")
        return await self._apply(resource, path, manifest, force=True)

    async def replace(self, resource: Resource, manifest: Manifest, *, fenced: bool = True) -> Manifest:
        """PUT: compare-and-swap on ``metadata.resourceVersion``."""
        metadata = manifest["metadata"]
        path = resource.path(metadata.get("namespace"), metadata["name"])
        return await self._write("PUT", "update", resource, path, manifest, fenced=fenced)

    async def create_unfenced(self, resource: Resource, manifest: Manifest) -> Manifest:
        """POST of what needs no leader: the Lease itself, and questions about our own rights."""
        path = resource.path(manifest["metadata"].get("namespace"))
        return await self._write("POST", "create", resource, path, manifest, fenced=False)

    async def merge(self, resource: Resource, namespace: str, name: str, patch: Manifest) -> Manifest:
        """JSON merge patch; put ``metadata.uid`` or ``metadata.resourceVersion`` into it to be sure whom it meets."""
        query = [("fieldManager", FIELD_MANAGER)]
        return await self._write("PATCH", "patch", resource, resource.path(namespace, name), patch, query=query, content_type=_MERGE)

    async def delete(self, resource: Resource, namespace: str, name: str, *, uid: str, propagation: str = "Background") -> None:
        """Delete exactly this object. Gone already, or another object of that name by now: success."""
        options = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": propagation, "preconditions": {"uid": uid}}
        try:
            await self._write("DELETE", "delete", resource, resource.path(namespace, name), options)
        except ApiError as error:
            if error.status not in (404, 409):
                raise

    # Reads.

    async def get(self, resource: Resource, namespace: str | None, name: str) -> Manifest:
        return await self._call("GET", "get", resource, resource.path(namespace, name))

    async def pages(self, resource: Resource, selection: Selection, *, page_size: int = PAGE_SIZE) -> AsyncIterator[Page]:
        """The list in pages, so that neither side ever holds all of it. Raises `Conflict` with ``expired`` when it took too long."""
        query = [*selection.query(), ("limit", str(page_size))]
        accept = _METADATA_ONLY if selection.metadata_only else _JSON
        token = ""
        while True:
            more = [*query, ("continue", token)] if token else query
            document = await self._call("GET", "list", resource, resource.path(selection.namespace), query=more, accept=accept)
            metadata = document.get("metadata") or {}
            remaining = int(metadata.get("remainingItemCount") or 0)
            yield Page(document.get("items") or [], str(metadata.get("resourceVersion") or ""), remaining)
            token = metadata.get("continue") or ""
            if not token:
                return

    async def watch(
        self, resource: Resource, selection: Selection, resource_version: str, *, silence: float = SILENCE
    ) -> AsyncIterator[WatchEvent]:
        """Changes after ``resource_version``, with bookmarks.

        Ends when the server closes; raises `Unavailable` after ``silence`` seconds without a byte.
        """
        query = [*selection.query(), ("watch", "true"), ("allowWatchBookmarks", "true"), ("resourceVersion", resource_version)]
        window = aiohttp.ClientTimeout(total=None, sock_connect=5, sock_read=silence)
        request = f"watch {resource.plural}"
        accept = _METADATA_ONLY_WATCH if selection.metadata_only else _JSON
        async with self._open("GET", resource.path(selection.namespace), query=query, accept=accept, window=window) as response:
            self._observe("watch", resource.plural, response.status, 0.0)
            if response.status != 200:
                raise error_from_response(response.status, await _refusal(response, request), dict(response.headers), request=request)
            async for line in _lines(response, request):
                document = orjson.loads(line)
                if document["type"] == "ERROR":
                    raise error_from_status(document["object"], request=request)
                yield WatchEvent(document["type"], document["object"])

    async def read_pod(self, namespace: str, pod: str, port: int, path: str, headers: dict[str, str], *, limit: int) -> bytes:
        """GET through the API server's pod proxy: for a process outside the cluster, which the chart never grants.

        The proxy answers redirects of the pod itself, and drops ``Authorization``; ``headers`` reach the pod, that one excepted.
        """
        url = PODS.path(namespace, f"{pod}:{port}", "proxy") + path
        async with self._open("GET", url, headers=headers) as response:
            body = await read_bounded(response, limit)
            if response.status != 200:
                raise error_from_response(response.status, body, dict(response.headers), request="proxy pods")
            return body

    # Transport.

    async def _apply(self, resource: Resource, path: str, manifest: Manifest, *, force: bool) -> Manifest:
        query = [("fieldManager", FIELD_MANAGER), ("force", "true" if force else "false")]
        return await self._write("PATCH", "apply", resource, path, manifest, query=query, content_type=_APPLY)

    async def _write(
        self,
        method: str,
        verb: str,
        resource: Resource,
        path: str,
        body: Manifest,
        *,
        query: list[tuple[str, str]] | None = None,
        content_type: str = _JSON,
        fenced: bool = True,
    ) -> Manifest:
        if fenced:
            self.fence()
        return await self._call(method, verb, resource, path, query=query, body=body, content_type=content_type)

    async def _call(
        self,
        method: str,
        verb: str,
        resource: Resource,
        path: str,
        *,
        query: list[tuple[str, str]] | None = None,
        body: Manifest | None = None,
        content_type: str = _JSON,
        accept: str = _JSON,
    ) -> Manifest:
        request = f"{verb} {path}"
        started = time.perf_counter()
        code = 0
        try:
            async with self._open(method, path, query=query, body=body, headers={"Content-Type": content_type}, accept=accept) as response:
                content = await response.read()
                code = response.status
                headers = dict(response.headers)
        except _BROKEN as error:
            raise Unavailable(f"{type(error).__name__}: {error}", request=request) from error
        finally:
            self._observe(verb, resource.plural, code, time.perf_counter() - started)
        if not 200 <= code < 300:
            raise error_from_response(code, content, headers, request=request)
        answer: Manifest = orjson.loads(content)
        return answer

    @asynccontextmanager
    async def _open(
        self,
        method: str,
        path: str,
        *,
        query: list[tuple[str, str]] | None = None,
        body: Manifest | None = None,
        headers: dict[str, str] | None = None,
        accept: str = _JSON,
        window: aiohttp.ClientTimeout = REQUEST_TIMEOUT,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        serialized = await self._client.param_serialize(
            method,
            path,
            query_params=query or [],
            body=body,
            auth_settings=["BearerToken"],
            header_params={"Accept": accept, **(headers or {})},
        )
        try:
            answer = (await self._client.call_api(*serialized, _request_timeout=window)).response
        except _BROKEN as error:
            raise Unavailable(f"{type(error).__name__}: {error}", request=f"{method} {path}") from error
        try:
            yield answer
        finally:
            if answer.content.at_eof():
                answer.release()
            else:
                answer.close()


async def read_bounded(response: aiohttp.ClientResponse, limit: int) -> bytes:
    """The body, if it is not larger than ``limit`` bytes; else `Invalid`, without having read more."""
    body = bytearray()
    async for chunk in response.content.iter_chunked(4096):
        body += chunk
        if len(body) > limit:
            raise Invalid(f"the answer is larger than {limit} bytes")
    return bytes(body)


async def _refusal(response: aiohttp.ClientResponse, request: str) -> bytes:
    """The body of an answer that is no stream; raises `Unavailable` if it breaks off."""
    try:
        return await response.read()
    except _BROKEN as error:
        raise Unavailable(f"{type(error).__name__}: {error}", request=request) from error


async def _lines(response: aiohttp.ClientResponse, request: str) -> AsyncIterator[bytes]:
    """Whole lines of a stream, however long; a stream that breaks in mid-line loses that line, which the next watch brings again."""
    rest = b""
    try:
        async for chunk in response.content.iter_any():
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                if line:
                    yield line
    except _BROKEN as error:
        raise Unavailable(f"{type(error).__name__}: {error}", request=request) from error
