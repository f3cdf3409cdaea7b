"""What clients can reach: three paths of the OpenAI API and the probes. Everything else ends here and is never forwarded.

Paths are compared as they were sent, without decoding or normalising, and what is forwarded is a constant of this file: no spelling of a
path leads to an engine's admin API.
"""

import asyncio
import logging
import random
import time
from dataclasses import dataclass, field
from typing import Final

from aiohttp import web

from finetune_inference.router.admission import Admission, Deposit
from finetune_inference.router.book import Book, Entry
from finetune_inference.router.choice import Choice, choose, pinned, sticky_key
from finetune_inference.router.credentials import bearer, digest, is_known, is_pin_token
from finetune_inference.router.exchange import Exchange, Means
from finetune_inference.router.intake import Asked, parse
from finetune_inference.router.messages import Credentials
from finetune_inference.router.refusals import (
    VERSION_HEADER,
    Refused,
    json_reply,
    pin_refused,
    reply,
    unavailable,
    unknown_model,
    unknown_path,
)
from finetune_inference.router.shadow import Shadows
from finetune_inference.router.upstream import headers_for

PIN_TOKEN_HEADER: Final = "x-adapter-pin-token"  # noqa: S105  the name of a header
COMPLETIONS: Final = {"/v1/chat/completions": "/v1/chat/completions", "/v1/completions": "/v1/completions"}
MODELS: Final = "/v1/models"
PROBES: Final = frozenset({"/health", "/healthz", "/readyz"})

log = logging.getLogger(__name__)


@dataclass
class Frontend:
    """The handler of all requests of one worker."""

    means: Means
    shadows: Shadows
    admission: Admission
    book: Book = field(default_factory=Book)
    credentials: Credentials = field(default_factory=lambda: Credentials(required=True))
    draining: bool = False
    open: set[Exchange] = field(default_factory=set)
    started: int = field(default_factory=lambda: int(time.time()))
    rng: random.Random = field(default_factory=random.Random)  # callers without a key

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer; whatever goes wrong here is the worker's own edge, and no client learns more than that."""
        try:
            response = await self._answer(request)
        except Refused as refused:
            self.means.traffic.measures.refused.labels(refused.code).inc()
            response = reply(refused)
            if not request.content.at_eof():
                response.force_close()
        except (asyncio.CancelledError, ConnectionError):
            raise
        except Exception:
            log.exception("a defect ended a request")
            response = reply(Refused(500, "internal_error", "The router failed."))
            response.force_close()
        if self.draining and not response.prepared:
            response.force_close()
        return response

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        path, _, _ = request.raw_path.partition("?")
        if request.method == "GET" and path in PROBES:
            return web.Response(status=503 if self.draining else 200, text="draining\n" if self.draining else "ok\n")
        if request.method == "POST" and path in COMPLETIONS:
            with self.admission.request() as deposit:
                return await self._complete(request, COMPLETIONS[path], deposit)
        if request.method == "GET" and path == MODELS:
            self._require_key(request)
            return json_reply({"object": "list", "data": [self._model(alias) for alias in self.book.aliases]})
        raise unknown_path()

    async def _complete(self, request: web.BaseRequest, path: str, deposit: Deposit) -> web.StreamResponse:
        pin = request.headers.get(VERSION_HEADER)
        if pin is None:
            self._require_key(request)
        elif not is_pin_token(request.headers.get(PIN_TOKEN_HEADER, ""), self.credentials):
            raise pin_refused()
        asked = parse(await self.admission.body(request, deposit))
        entry = self.book.entries.get(asked.alias)
        if entry is None:
            raise unknown_model(asked.alias)
        choice = self._live(request, entry, asked) if pin is None else pinned(entry.route, pin)
        if choice is None:
            raise unavailable(asked.alias) if pin is None else pin_refused()
        headers = headers_for(request.headers, self.credentials.engine_key)
        exchange = Exchange(self.means, request, path, asked, entry, choice, headers, deposit.release)
        if pin is None:
            self.shadows.consider(entry, asked, path, headers, chosen=choice.version)
        del asked
        self.open.add(exchange)
        try:
            return await exchange.run()
        finally:
            self.open.discard(exchange)

    def _live(self, request: web.BaseRequest, entry: Entry, asked: Asked) -> Choice | None:
        key = bearer(request.headers.get("Authorization", ""))
        known_by = sticky_key(entry.route.stickiness, request.headers, asked.user, digest(key) if key else "")
        return choose(entry.route, known_by, breaker_open=entry.breaker_open, draw=self.rng.randrange)

    def _require_key(self, request: web.BaseRequest) -> None:
        if self.credentials.required and not is_known(bearer(request.headers.get("Authorization", "")), self.credentials):
            raise Refused(401, "invalid_api_key", "Send a valid API key as 'Authorization: Bearer …'.")

    def _model(self, alias: str) -> dict[str, object]:
        return {"id": alias, "object": "model", "created": self.started, "owned_by": self.book.entries[alias].namespace}
