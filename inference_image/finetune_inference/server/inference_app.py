"""The public application: text, models, health and metrics. Adapters are loaded elsewhere, on a port that clients never see."""

import secrets
import time
from collections.abc import AsyncIterator
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from finetune_inference.server.http import EXCEPTION_HANDLERS, EventStream, Json, Watch, body_of
from finetune_inference.server.protocol.errors import broken
from finetune_inference.server.protocol.replies import DONE, ChatForm, CompletionForm, Form, Head, Usage, event
from finetune_inference.server.protocol.requests import ChatRequest, CompletionRequest, parse_chat, parse_completion
from finetune_inference.server.sequence import Finish, Piece, Sequence, TokenFacts
from finetune_inference.server.service import Service


def application(service: Service) -> Starlette:
    async def chat(request: Request) -> Response:
        body = await body_of(request)
        asked = parse_chat(body)
        return await _answered(service, request, asked, len(body))

    async def completions(request: Request) -> Response:
        body = await body_of(request)
        asked = parse_completion(body)
        return await _answered(service, request, asked, len(body))

    async def metrics(_: Request) -> Response:
        return Response(service.metrics.exposition(), media_type=CONTENT_TYPE_LATEST)

    return Starlette(
        routes=[
            Route("/v1/chat/completions", chat, methods=["POST"]),
            Route("/v1/completions", completions, methods=["POST"]),
            Route("/metrics", metrics),
            *common_routes(service),
        ],
        exception_handlers=EXCEPTION_HANDLERS,
    )


def common_routes(service: Service) -> list[Route]:
    """What both ports answer."""

    async def health(_: Request) -> Response:
        return Response(status_code=200 if service.healthy else 503)

    async def models(_: Request) -> Response:
        return Json({"object": "list", "data": _models(service)})

    return [Route("/health", health), Route("/v1/models", models)]


def _models(service: Service) -> list[dict[str, Any]]:
    """The base model first, then its adapters with the folder each was loaded from."""
    base = service.base
    card = {"object": "model", "owned_by": "finetune-operator"}
    first = {**card, "id": base.name, "created": 0, "root": base.root, "parent": None, "max_model_len": base.model_length}
    adapters = [
        {**card, "id": adapter.name, "created": adapter.created, "root": adapter.root, "parent": base.name}
        for adapter in service.registry.all()
    ]
    return [first, *adapters]


async def _answered(service: Service, request: Request, asked: ChatRequest | CompletionRequest, size: int) -> Response:
    answer, sequence = await service.begin(asked, size)
    spell = service.prompts.spell if asked.likelihoods is not None else None
    prefix, kind = ("chatcmpl", ChatForm) if isinstance(asked, ChatRequest) else ("cmpl", CompletionForm)
    form = kind(Head(f"{prefix}-{secrets.token_hex(16)}", int(time.time()), asked.model), spell)
    watch = Watch(request.receive, answer.cancel)
    pieces = answer.pieces()
    try:
        if not asked.stream:
            return await _whole(service, form, sequence, pieces)
        # The status line waits for the first token: a failure before it is still an honest status.
        first = await anext(pieces)
    finally:
        watch.end()
    service.raise_error(first)
    return EventStream(_events(form, sequence, first, pieces, wants_usage=asked.wants_usage), answer.cancel)


async def _whole(service: Service, form: Form, sequence: Sequence, pieces: AsyncIterator[Piece]) -> Response:
    text: list[str] = []
    facts: list[TokenFacts] = []
    tokens, finish = 0, Finish.ABORT
    async for piece in pieces:
        service.raise_error(piece)
        text.append(piece.text)
        facts += piece.facts
        tokens += piece.tokens
        finish = piece.finish or finish
    return Json(form.whole("".join(text), facts, finish.value, Usage(len(sequence.prompt), tokens)))


async def _events(form: Form, sequence: Sequence, first: Piece, rest: AsyncIterator[Piece], *, wants_usage: bool) -> AsyncIterator[bytes]:
    opening = form.opening()
    if opening is not None:
        yield event(opening)
    tokens = written = 0
    async for piece in _with(first, rest):
        if piece.finish is Finish.ERROR:
            yield event(broken(piece.error or "").body())
            yield DONE
            return
        tokens += piece.tokens
        if piece.text or piece.facts or piece.finish:
            yield event(form.chunk(piece.text, piece.facts, piece.finish.value if piece.finish else None, written))
            written += len(piece.text)
    if wants_usage:
        yield event(form.usage_chunk(Usage(len(sequence.prompt), tokens)))
    yield DONE


async def _with(first: Piece, rest: AsyncIterator[Piece]) -> AsyncIterator[Piece]:
    yield first
    async for piece in rest:
        yield piece
