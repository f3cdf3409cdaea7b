"""How much a worker takes on at once: requests, and bytes of bodies that wait for their first byte."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from aiohttp import web

from finetune_inference.router.options import Options
from finetune_inference.router.refusals import Refused, overloaded


class Deposit:
    """The bytes that one request has of the budget."""

    def __init__(self, admission: "Admission") -> None:
        self._admission = admission
        self._size = 0

    def hold(self, size: int) -> None:
        """Change the amount; raises `Refused` if there is not so much left."""
        if self._admission.bytes_held - self._size + size > self._admission.options.max_bodies:
            raise overloaded()
        self._admission.bytes_held += size - self._size
        self._size = size

    def release(self) -> None:
        self.hold(0)


class Admission:
    """Counts what is open in one worker."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.requests = 0
        self.bytes_held = 0

    @contextmanager
    def request(self) -> Iterator[Deposit]:
        """Admit one request or raise `Refused`."""
        if self.requests >= self.options.max_requests:
            raise overloaded()
        self.requests += 1
        deposit = Deposit(self)
        try:
            yield deposit
        finally:
            deposit.release()
            self.requests -= 1

    async def body(self, request: web.BaseRequest, deposit: Deposit) -> bytes:
        """The whole body; raises `Refused` for one that is too long, too slow, broken or compressed."""
        limit = self.options.max_body
        declared = request.content_length
        if declared is not None and declared > limit:
            raise _too_long(limit)
        if request.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise Refused(415, "unsupported_encoding", "Send the body without Content-Encoding.")
        if request.headers.get("Expect", "").lower() == "100-continue":
            await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        try:
            async with asyncio.timeout(self.options.body_seconds):
                return await _read(request, limit, deposit)
        except TimeoutError:
            raise Refused(408, "body_timeout", "The body did not arrive in time.") from None
        except web.RequestPayloadError:
            raise Refused(400, "invalid_body", "The body broke off or is badly framed.") from None


async def _read(request: web.BaseRequest, limit: int, deposit: Deposit) -> bytes:
    """What has come is what counts: a length that is only announced takes nobody's room."""
    body = await request.content.readany()
    if not request.content.at_eof():
        collected = bytearray(body)
        while chunk := await request.content.readany():
            collected += chunk
            if len(collected) > limit:
                raise _too_long(limit)
            deposit.hold(len(collected))
        body = bytes(collected)
    if len(body) > limit:
        raise _too_long(limit)
    deposit.hold(len(body))
    return body


def _too_long(limit: int) -> Refused:
    return Refused(413, "body_too_long", f"The body is longer than {limit} bytes.")
