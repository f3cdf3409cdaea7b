"""Reads one answer to its end and measures it: by timestamps, the last events and nothing in between."""

import time
from collections.abc import AsyncGenerator

import aiohttp
import orjson

from finetune_inference.contract import Outcome
from finetune_inference.router.answers import TAIL, Ending, body_ending, stream_ending
from finetune_inference.router.checking import ANSWER_LIMIT
from finetune_inference.router.measures import Arm
from finetune_inference.router.upstream import Answer

PAUSE = 0.001
"""Seconds after which a receiver has held the reading up, so that the gap is not the engine's."""


class Cut(Exception):
    """The engine's stream broke off, fell silent, or ended without saying that it was complete."""


class Reading:
    """``keep``: remember the chunks for a check."""

    def __init__(self, answer: Answer, arm: Arm, began: float, *, keep: bool) -> None:
        self._answer = answer
        self._arm = arm
        self._began = began
        self._keep = keep
        self._kept: list[bytes] = []
        self._size = 0
        self._events = 0
        self._tail = b""
        self._stream_ending = Ending()
        self.too_long = False

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """All chunks of a stream, as they come; raises `Cut`. What the receiver takes to accept one is no gap of the engine's."""
        content = self._answer.response.content
        chunk = self._answer.first
        at = time.monotonic()
        self._arm.first_token.observe(at - self._began)
        while chunk:
            self._remember(chunk)
            yield chunk
            resumed = time.monotonic()
            if resumed - at > PAUSE:
                at = resumed
            try:
                chunk = await content.readany()
            except (aiohttp.ClientError, TimeoutError) as error:
                raise Cut from error
            now = time.monotonic()
            if chunk:
                self._arm.between.observe(now - at)
            at = now
        self._stream_ending = stream_ending(self._tail)
        if not self._stream_ending.done:
            raise Cut

    @property
    def kept(self) -> tuple[bytes, ...]:
        """The whole answer, where it was to be kept and was not too long."""
        if not self._answer.streamed and self._keep:
            return (self._answer.first,)
        return tuple(self._kept)

    def settle(self) -> Outcome:
        """Count how a complete answer ended, and say what it was: a stream may end well and carry the engine's error."""
        if self._answer.status >= 400:
            return Outcome.ERROR if self._answer.status >= 500 else Outcome.CLIENT_ERROR
        ending = self._ending()
        if ending.failed:
            return Outcome.ERROR
        self._arm.whole.observe(time.monotonic() - self._began)
        self._arm.reasons[ending.reason or "other"].inc()
        self._arm.tokens.inc(self._events if ending.output_tokens is None else ending.output_tokens)
        return Outcome.OK

    def _ending(self) -> Ending:
        if self._answer.streamed:
            return self._stream_ending
        try:
            document = orjson.loads(self._answer.first)
        except orjson.JSONDecodeError:
            return Ending(failed=True)
        return body_ending(document) if isinstance(document, dict) else Ending(failed=True)

    def _remember(self, chunk: bytes) -> None:
        self._tail = (self._tail + chunk)[-TAIL:]
        self._events += chunk.count(b"data: {")
        self._size += len(chunk)
        if self._keep:
            self._kept.append(chunk)
            if self._size > ANSWER_LIMIT:
                self._keep, self.too_long = False, True
                self._kept.clear()
