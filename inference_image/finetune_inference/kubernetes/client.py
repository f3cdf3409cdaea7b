"""Requests to the API server: lists in pages, and watches with bookmarks. Everything that comes is bounded.

The redirects of an API server are nobody's business here, and no proxy of the environment is used: the token goes to one address.
"""

import random
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final, Self

import aiohttp
import orjson

from finetune_inference.kubernetes.access import Access
from finetune_inference.kubernetes.errors import ApiError, Away, Unreadable, from_status
from finetune_inference.kubernetes.selection import Selection

PAGE_SIZE: Final = 100
PAGE_LIMIT: Final = 64 << 20
"""Bytes of one page; an object of etcd has at most 1.5 MiB, and usually some kilobytes."""
LINE_LIMIT: Final = 4 << 20
"""Bytes of one event of a watch."""
REFUSAL_LIMIT: Final = 1 << 16
REQUEST_SECONDS: Final = 30.0
CONNECT_SECONDS: Final = 5.0
SILENCE_SECONDS: Final = 90.0
"""Without a byte for so long a watch counts as dead; bookmarks come about once a minute."""
WATCH_SECONDS: Final = (240, 480)
"""How long a watch may last at the API server, drawn anew for each."""

_BROKEN = (aiohttp.ClientError, TimeoutError, OSError)

Object = dict[str, Any]


@dataclass(frozen=True)
class Page:
    """Part of a list, with the resource version of the whole."""

    items: list[Object]
    resource_version: str


@dataclass(frozen=True)
class Opened:
    """The API server has taken the watch."""


@dataclass(frozen=True)
class Event:
    """``type`` is ``ADDED``, ``MODIFIED``, ``DELETED`` or ``BOOKMARK``; an ``ERROR`` is raised instead."""

    type: str
    object: Object
    resource_version: str


class ApiClient:
    """Open it inside the event loop with ``async with``. Every request raises `ApiError`."""

    def __init__(self, access: Access, user_agent: str, *, silence: float = SILENCE_SECONDS) -> None:
        self._access = access
        self._user_agent = user_agent
        self._silence = silence
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(socket_factory=_kept_alive, limit=64),
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
        )
        return self

    async def __aexit__(self, *exception: object) -> None:
        if self._session is not None:
            await self._session.close()

    async def pages(self, selection: Selection) -> AsyncIterator[Page]:
        """All objects as they are now, never as they were; raises `Expired` if it took too long to read on."""
        window = aiohttp.ClientTimeout(total=REQUEST_SECONDS, sock_connect=CONNECT_SECONDS)
        token, version = "", ""
        while True:
            query = [*selection.query(), ("limit", str(PAGE_SIZE)), *([("continue", token)] if token else [])]
            async with self._open("list", selection, query, window) as response:
                document = _document(await _bounded(response, PAGE_LIMIT), f"list {selection.plural}")
            metadata, items = document.get("metadata") or {}, document.get("items") or []
            version = version or str(metadata.get("resourceVersion") or "")
            yield Page(items, version)
            token = str(metadata.get("continue") or "")
            if not token:
                return

    async def watch(self, selection: Selection, resource_version: str) -> AsyncIterator[Opened | Event]:
        """What changed after ``resource_version``. Ends when the API server ends it; raises `Away` when it breaks or falls silent."""
        request = f"watch {selection.plural}"
        seconds = random.randint(*WATCH_SECONDS)  # noqa: S311  spreads load
        query = [
            *selection.query(),
            *(("watch", "true"), ("allowWatchBookmarks", "true"), ("resourceVersion", resource_version), ("timeoutSeconds", str(seconds))),
        ]
        window = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=self._silence)
        async with self._open("watch", selection, query, window) as response:
            yield Opened()
            async for line in _lines(response.content, LINE_LIMIT, request):
                yield _event(_document(line, request), request)

    @asynccontextmanager
    async def _open(
        self, verb: str, selection: Selection, query: list[tuple[str, str]], window: aiohttp.ClientTimeout
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        assert self._session is not None, "async with comes first"
        request = f"{verb} {selection.plural}"
        context, headers = self._credentials(request)
        url = f"{self._access.url}{selection.path}"
        try:
            async with self._session.get(
                url, params=query, headers=headers, ssl=context, timeout=window, allow_redirects=False
            ) as response:
                if response.status != 200:
                    raise await _refusal(response, request)
                yield response
        except _BROKEN as error:
            raise Away(f"the API server {self._access.url} is away: {_reason(error)}") from error

    def _credentials(self, request: str) -> tuple[ssl.SSLContext, dict[str, str]]:
        try:
            headers = {"Accept": "application/json", "User-Agent": self._user_agent, "Authorization": f"Bearer {self._access.token()}"}
            return self._access.context(), headers
        except OSError as error:
            raise Away(f"{request}: {error.filename or self._access.ca_file}: {error.strerror or 'holds no certificate'}") from error
        except ValueError as error:
            raise Away(f"{request}: {error}") from error


def _event(document: Object, request: str) -> Event:
    kind, content = document.get("type"), document.get("object")
    if not isinstance(kind, str) or not isinstance(content, dict):
        raise Unreadable(f"{request}: an event that is none")
    if kind == "ERROR":
        code = content.get("code")
        raise _of_status(content, code if isinstance(code, int) else 500, request)
    version = (content.get("metadata") or {}).get("resourceVersion")
    if kind not in {"ADDED", "MODIFIED", "DELETED", "BOOKMARK"} or not isinstance(version, str):
        raise Unreadable(f"{request}: an event of an unknown kind")
    return Event(kind, content, version)


def _of_status(document: Object, code: int, request: str, retry_after: float = 0.0) -> ApiError:
    reason, text = str(document.get("reason") or ""), str(document.get("message") or "")
    return from_status(code, reason, text, request=request, retry_after=retry_after)


async def _refusal(response: aiohttp.ClientResponse, request: str) -> ApiError:
    content = await _bounded(response, REFUSAL_LIMIT)
    try:
        document = orjson.loads(content)
    except ValueError:
        document = {}
    asked = response.headers.get("Retry-After", "")
    retry_after = float(asked) if asked.isdecimal() else 0.0
    return _of_status(document if isinstance(document, dict) else {}, response.status, request, retry_after)


def _document(content: bytes, request: str) -> Object:
    try:
        document = orjson.loads(content)
    except ValueError as error:
        raise Unreadable(f"{request}: the answer is no JSON") from error
    if not isinstance(document, dict):
        raise Unreadable(f"{request}: the answer is no object")
    return document


async def _bounded(response: aiohttp.ClientResponse, limit: int) -> bytes:
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > limit:
            raise Unreadable(f"the API server's answer is larger than {limit >> 10} KiB")
    return bytes(body)


async def _lines(content: aiohttp.StreamReader, limit: int, request: str) -> AsyncIterator[bytes]:
    """Whole lines; what a broken connection leaves of one is dropped, since the next watch brings it again."""
    rest = b""
    async for chunk in content.iter_any():
        *lines, rest = (rest + chunk).split(b"\n")
        if len(rest) > limit or any(len(line) > limit for line in lines):
            raise Unreadable(f"{request}: an event is larger than {limit >> 20} MiB")
        for line in lines:
            if line:
                yield line


def _reason(error: Exception) -> str:
    """Why, in words that are the same for the same cause."""
    if isinstance(error, aiohttp.ClientConnectorError):
        return error.strerror or type(error).__name__
    return type(error).__name__


def _kept_alive(address: aiohttp.AddrInfoType) -> socket.socket:
    """A path that is gone without a word is noticed within half a minute, long before a watch counts as silent."""
    family, kind, protocol, *_ = address
    made = socket.socket(family, kind, protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (("TCP_KEEPIDLE", 10), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 4), ("TCP_USER_TIMEOUT", 30_000)):
        if hasattr(socket, option):
            made.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
    return made
