"""What both applications share: bodies with a bound, errors in OpenAI's shape, and streams that notice when nobody reads them."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import orjson
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from finetune_inference.server.protocol.errors import RequestError

LARGEST_BODY = 10 << 20


class Json(Response):
    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return orjson.dumps(content)


async def body_of(request: Request) -> bytes:
    """The whole body. Raises ``RequestError`` 413 once it is too large, whatever its length was said to be."""
    parts, size = [], 0
    async for part in request.stream():
        parts.append(part)
        size += len(part)
        if size > LARGEST_BODY:
            raise RequestError(413, "BadRequestError", f"the body is larger than {LARGEST_BODY} bytes")
    return b"".join(parts)


async def request_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestError)
    headers = {"retry-after": str(error.retry_after)} if error.retry_after is not None else None
    return Json(error.body(), error.status, headers)


async def routing_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    kind = "NotFoundError" if error.status_code == 404 else "BadRequestError"
    return Json(RequestError(error.status_code, kind, error.detail).body(), error.status_code, error.headers)


EXCEPTION_HANDLERS: dict[Any, Any] = {RequestError: request_error, HTTPException: routing_error}


class Watch:
    """Calls ``gone`` if the client goes away before ``end``."""

    def __init__(self, receive: Receive, gone: Callable[[], None]) -> None:
        self._task = asyncio.ensure_future(self._wait(receive, gone))

    def end(self) -> None:
        self._task.cancel()

    @staticmethod
    async def _wait(receive: Receive, gone: Callable[[], None]) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        gone()


class EventStream(Response):
    """Server-sent events. When the client goes, ``gone`` is called, and the events are expected to end by themselves soon after."""

    def __init__(self, events: AsyncIterator[bytes], gone: Callable[[], None]) -> None:
        super().__init__(media_type="text/event-stream", headers={"cache-control": "no-cache", "x-accel-buffering": "no"})
        del self.headers["content-length"]
        self._events = events
        self._gone = gone

    async def __call__(self, _: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        watch = Watch(receive, self._gone)
        try:
            async for event in self._events:
                await send({"type": "http.response.body", "body": event, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        except OSError:  # the connection broke while we wrote
            self._gone()
        finally:
            watch.end()
