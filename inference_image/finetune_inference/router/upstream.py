"""One attempt at one pod, up to the first byte of its answer: until then nothing is lost by asking another."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import aiohttp

from finetune_inference.router.pods import Pod

FORWARDED: Final = ("x-request-id", "traceparent", "tracestate")
"""Headers of clients that reach the engine. Credentials and cookies never do."""

BODY_LIMIT: Final = 64 * 1024 * 1024
"""Bytes of an answer that is not streamed."""


class Cause(StrEnum):
    """Why an attempt gave nothing."""

    UNREACHABLE = "unreachable"
    DISCONNECTED = "disconnected"
    UNAVAILABLE = "unavailable"
    VERSION_ABSENT = "version_absent"
    TIMEOUT = "timeout"
    BROKEN = "broken"


RETRIED: Final = frozenset({Cause.UNREACHABLE, Cause.DISCONNECTED, Cause.UNAVAILABLE, Cause.VERSION_ABSENT})
"""Causes after which another pod is asked. A timeout is not one: the work was done, and would be done again."""


@dataclass(frozen=True)
class Failure:
    """An attempt without an answer that a client could have; ``retry_after`` as the engine said it."""

    cause: Cause
    retry_after: str | None = None


@dataclass(frozen=True)
class Answer:
    """An answer that has begun: a stream with its first chunk, or a whole body."""

    response: aiohttp.ClientResponse
    streamed: bool
    first: bytes

    @property
    def status(self) -> int:
        return self.response.status


class Upstream:
    """The connections to all pods; one pool for live traffic, and another for copies, so that these never take a place of that."""

    def __init__(self, connections: int, *, connect_seconds: float, silence_seconds: float) -> None:
        # Engines behind uvicorn drop an idle connection after 5 s; ours ends first, or a request would meet a closed one.
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=connections, limit_per_host=0, keepalive_timeout=3.0, ttl_dns_cache=30),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=connect_seconds, sock_read=silence_seconds),
            auto_decompress=False,
            skip_auto_headers=("User-Agent", "Accept-Encoding"),
            trust_env=False,
        )

    async def close(self) -> None:
        await self._session.close()

    async def ask(self, pod: Pod, path: str, body: bytes, headers: dict[str, str]) -> Answer | Failure:
        """Send a request and wait for the first byte of its answer; cancelling it drops the connection."""
        try:
            response = await self._session.post(pod.url + path, data=body, headers=headers, allow_redirects=False)
        except (aiohttp.ConnectionTimeoutError, aiohttp.ClientConnectorError):
            return Failure(Cause.UNREACHABLE)
        except TimeoutError:
            return Failure(Cause.TIMEOUT)
        except aiohttp.ClientConnectionError:
            return Failure(Cause.DISCONNECTED)
        except aiohttp.ClientError:
            return Failure(Cause.BROKEN)
        try:
            answer = await _begun(response)
        except BaseException:
            response.close()
            raise
        if isinstance(answer, Failure):
            response.close()
        return answer


async def _begun(response: aiohttp.ClientResponse) -> Answer | Failure:
    if response.status in (404, 503):
        return Failure(Cause.VERSION_ABSENT if response.status == 404 else Cause.UNAVAILABLE, response.headers.get("Retry-After"))
    packed = response.headers.get("Content-Encoding", "identity") != "identity"
    if response.status in (401, 403) or 300 <= response.status < 400 or packed:
        return Failure(Cause.BROKEN)
    streamed = response.status == 200 and response.content_type == "text/event-stream"
    try:
        first = await response.content.readany() if streamed else await _whole(response)
    except TimeoutError:
        return Failure(Cause.TIMEOUT)
    except (aiohttp.ClientError, ValueError):
        # Of a stream nothing was sent on yet; a body that broke off has cost its whole computation.
        return Failure(Cause.DISCONNECTED if streamed else Cause.BROKEN)
    if streamed and not first:
        return Failure(Cause.DISCONNECTED)
    return Answer(response, streamed, first)


async def _whole(response: aiohttp.ClientResponse) -> bytes:
    """Raises ``ValueError`` for more than `BODY_LIMIT`."""
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > BODY_LIMIT:
            raise ValueError("the answer is too long")
    return bytes(body)


def headers_for(client: Mapping[str, str], engine_key: str | None) -> dict[str, str]:
    """What is sent to an engine with a client's request."""
    headers = {"Content-Type": "application/json", "Accept-Encoding": "identity"}
    if engine_key:
        headers["Authorization"] = f"Bearer {engine_key}"
    return headers | {name: value for name in FORWARDED if (value := client.get(name))}
