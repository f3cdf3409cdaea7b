"""One request's life: find a pod that answers, relay the answer, count how it ended.

Before the first byte another pod is asked when one fails; after it never, and what breaks off is seen to break off.
"""

import asyncio
import time
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Final

import aiohttp
from aiohttp import web

from finetune_inference.contract import Outcome
from finetune_inference.router.book import Entry
from finetune_inference.router.choice import Choice
from finetune_inference.router.intake import Asked
from finetune_inference.router.pods import Pod, Pods
from finetune_inference.router.reading import Cut, Reading
from finetune_inference.router.refusals import VERSION_HEADER, Refused, reply, unavailable
from finetune_inference.router.rewrite import AliasRewriter
from finetune_inference.router.sampling import Sampling
from finetune_inference.router.traffic import Traffic
from finetune_inference.router.upstream import RETRIED, Answer, Cause, Failure, Upstream

ATTEMPTS: Final = 2
RETURNED: Final = ("x-request-id", "retry-after")
"""Headers of engines that reach the client."""


@dataclass(frozen=True)
class Means:
    """What every exchange of a worker works with. ``suspect`` tells the supervisor of a pod that failed."""

    pods: Pods
    upstream: Upstream
    traffic: Traffic
    sampling: Sampling
    suspect: Callable[[Pod], None]


@dataclass(eq=False)
class Exchange:
    """One request of a client and all that happens to it.

    ``release`` is called when the request's body is needed no more. ``writing_since``: when the client stopped accepting, 0 while it
    accepts; whoever looks after slow readers reads it.
    """

    means: Means
    request: web.BaseRequest
    path: str
    asked: Asked
    entry: Entry
    choice: Choice
    headers: dict[str, str]
    release: Callable[[], None] = lambda: None
    began: float = field(default_factory=time.monotonic)
    writing_since: float = 0.0

    async def run(self) -> web.StreamResponse:
        """The reply: of the chosen version, of stable in its stead, or a refusal."""
        refusable = self.choice.instead is None
        response = await self._by(self.choice.version, refusable=refusable)
        if response is None and self.choice.instead is not None:
            self._ended(self.choice.version, Outcome.FALLBACK)
            response = await self._by(self.choice.instead, refusable=True, stands_in=True)
        assert response is not None, "a version without a stand-in always gives a reply"
        return response

    async def _by(self, version: str, *, refusable: bool, stands_in: bool = False) -> web.StreamResponse | None:
        """Ask the pods of one version; none if nobody could answer and somebody else may."""
        with self.means.traffic.asking(self.entry.route.deployment, version):
            try:
                found = await self._attempts(version)
            except (asyncio.CancelledError, ConnectionError):
                if not stands_in:
                    self._ended(version, Outcome.ABORTED)
                raise
        if isinstance(found, tuple):
            response, outcome = found
            if not stands_in or outcome is Outcome.ERROR:
                self._ended(version, outcome)
            return response
        if not refusable and (found is None or found.cause in RETRIED):
            return None
        self._ended(version, Outcome.ERROR)
        return reply(_refusal(self.asked.alias, found), version)

    async def _attempts(self, version: str) -> tuple[web.StreamResponse, Outcome] | Failure | None:
        """The reply, or why the last attempt gave none; None if no pod has the version."""
        body, failure, tried = self.asked.body_for(version), None, list[Pod]()
        for _ in range(ATTEMPTS):
            pod = self._next_pod(version, tried, failure)
            if pod is None:
                break
            if failure is not None:
                self.means.traffic.measures.retries.labels(failure.cause.value).inc()
            tried.append(pod)
            with pod.asking():
                answer = await self.means.upstream.ask(pod, self.path, body, self.headers)
                if isinstance(answer, Answer):
                    del body
                    self._forget_request()
                    return await self._deliver(answer, version)
            failure = answer
            if failure.cause not in RETRIED:
                break
            pod.doubt(time.monotonic())
            self.means.suspect(pod)
        return failure

    def _next_pod(self, version: str, tried: list[Pod], failure: Failure | None) -> Pod | None:
        pod = self.means.pods.pick(self.entry.route.deployment, version, tried, time.monotonic())
        if pod is None and failure is not None and failure.cause is Cause.DISCONNECTED:
            return tried[-1]  # an idle connection that the engine had just closed: a new one may do
        return pod

    def _forget_request(self) -> None:
        """From the first byte on nobody else is asked: a long prompt need not stay for as long as its answer streams."""
        self.asked = Asked(self.asked.alias, {}, 0)
        self.release()

    async def _deliver(self, answer: Answer, version: str) -> tuple[web.StreamResponse, Outcome]:
        arm = self.means.traffic.arm(self.entry, version, self.choice.track)
        reading = self.means.sampling.reading(self.entry, answer, arm, self.began)
        try:
            response, complete = await self._relay(answer, reading, version) if answer.streamed else (self._whole(answer, version), True)
        finally:
            answer.response.close()
        if not complete:
            return response, Outcome.ERROR
        outcome = reading.settle()
        if outcome is Outcome.OK:
            self.means.sampling.offer(self.entry, reading, arm, streamed=answer.streamed)
        return response, outcome

    async def _relay(self, answer: Answer, reading: Reading, version: str) -> tuple[web.StreamResponse, bool]:
        """Pass a stream on, chunk by chunk; false if it broke off, and then the client's connection breaks off too."""
        response = web.StreamResponse(headers=_reply_headers(answer, version) | {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"})
        if self.request.version >= aiohttp.HttpVersion11:
            response.enable_chunked_encoding()
        await response.prepare(self.request)
        rewriter = AliasRewriter(version, self.asked.alias)
        try:
            async with aclosing(reading.chunks()) as chunks:
                async for chunk in chunks:
                    await self._write(response, rewriter.feed(chunk))
        except Cut:
            self.request.protocol.force_close()
            return response, False
        await self._write(response, rewriter.rest())
        return response, True

    async def _write(self, response: web.StreamResponse, chunk: bytes) -> None:
        """Raises ``ConnectionError`` if the client has gone; waits while it accepts nothing."""
        if chunk:
            self.writing_since = time.monotonic()
            await response.write(chunk)
            self.writing_since = 0.0

    def _whole(self, answer: Answer, version: str) -> web.Response:
        if answer.response.content_type != "application/json":
            status = answer.status if 400 <= answer.status < 500 else 502
            return reply(Refused(status, "upstream_error", "The server of this model did not answer in JSON."), version)
        rewriter = AliasRewriter(version, self.asked.alias)
        body = rewriter.feed(answer.first) + rewriter.rest()
        if answer.status >= 400:
            body = body.replace(version.encode(), self.asked.alias.encode())
        return web.Response(status=answer.status, headers=_reply_headers(answer, version), body=body)

    def _ended(self, version: str, outcome: Outcome) -> None:
        self.means.traffic.ended(self.entry, version, self.choice.track, outcome)


def _reply_headers(answer: Answer, version: str) -> dict[str, str]:
    theirs = answer.response.headers
    returned = {name: theirs[name] for name in RETURNED if name in theirs}
    return {"Content-Type": theirs.get("Content-Type", "application/json"), VERSION_HEADER: version} | returned


def _refusal(alias: str, failure: Failure | None) -> Refused:
    if failure is None or failure.cause in RETRIED:
        return unavailable(alias)
    if failure.cause is Cause.TIMEOUT:
        return Refused(504, "upstream_timeout", "The server of this model did not answer in time.")
    return Refused(502, "upstream_error", "The server of this model failed.")
