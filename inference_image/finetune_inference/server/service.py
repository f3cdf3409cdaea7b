"""What the endpoints do, without HTTP: a request becomes a sequence, a sequence an answer."""

import asyncio
import time
from dataclasses import dataclass, field

from finetune_inference.server.answers import Answer
from finetune_inference.server.base_model import BaseModel
from finetune_inference.server.batching import Limits
from finetune_inference.server.engine import Engine
from finetune_inference.server.metrics import BASE, Metrics
from finetune_inference.server.prompts import Prompts
from finetune_inference.server.protocol.errors import broken, no_such_model, overloaded, stopping
from finetune_inference.server.protocol.requests import ChatRequest, CompletionRequest
from finetune_inference.server.registry import Registry
from finetune_inference.server.sequence import Finish, Piece, Sequence
from finetune_inference.server.text import Transcript

LONG = 20_000
"""Bytes of a request beyond which it is tokenized outside the event loop."""


@dataclass
class Service:
    """Lives in the event loop. ``open`` counts the requests that the engine has and has not ended."""

    base: BaseModel
    engine: Engine
    registry: Registry
    prompts: Prompts
    limits: Limits
    metrics: Metrics
    max_waiting: int
    open: int = 0
    stopping: bool = False
    idle: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.idle.set()

    @property
    def healthy(self) -> bool:
        return not (self.stopping or self.engine.died.is_set())

    async def begin(self, request: ChatRequest | CompletionRequest, size: int) -> tuple[Answer, Sequence]:
        """Queue a request of ``size`` bytes. Raises ``RequestError``: 400, 404, or 503 when too many wait already."""
        arrived = time.monotonic()
        if not self.healthy:
            raise stopping()
        if self.open >= self.limits.sequences + self.max_waiting:
            raise overloaded(self.max_waiting)
        self._refuse_unknown(request.model)
        ids = await asyncio.to_thread(self._ids, request) if size > LONG else self._ids(request)
        answer = Answer(self.engine.cancel, self._closed)
        sequence = self._sequence(request, ids, answer, arrived)
        self.open += 1
        self.idle.clear()
        self.engine.submit(sequence)
        return answer, sequence

    def _sequence(self, request: ChatRequest | CompletionRequest, ids: list[int], answer: Answer, arrived: float) -> Sequence:
        # Looked up again: the adapter may have gone while a long prompt was tokenized.
        self._refuse_unknown(request.model)
        adapter = self.registry.find(request.model)
        before = adapter.preamble if adapter else None
        stops = self.base.stops | (adapter.stops if adapter else frozenset())
        sequence = Sequence(
            prompt=ids,
            max_tokens=self.prompts.room(len(ids) + (before.tokens if before else 0), request.asked_tokens),
            sampling=request.sampling,
            stops=frozenset(request.stop_token_ids or ()) | (frozenset() if request.ignore_eos else stops),
            transcript=Transcript(self.base.backend, ids, request.stops, skip_special=request.skip_special_tokens),
            arrived=arrived,
            deliver=answer.add,
            adapter=adapter.key if adapter else None,
            label=adapter.name if adapter else BASE,
            preamble=before,
            streams=bool(request.stream),
        )
        answer.sequence = sequence
        return sequence

    def _ids(self, request: ChatRequest | CompletionRequest) -> list[int]:
        return self.prompts.chat(request) if isinstance(request, ChatRequest) else self.prompts.completion(request)

    def raise_error(self, piece: Piece) -> None:
        """Raise ``RequestError`` for a piece that says the answer failed: 503 when another server may do better, else 500."""
        if piece.finish is Finish.ERROR:
            raise stopping() if self.stopping else broken(piece.error or "")

    def _refuse_unknown(self, name: str) -> None:
        if name != self.base.name and self.registry.find(name) is None:
            raise no_such_model(name)

    def _closed(self) -> None:
        self.open -= 1
        if self.open == 0:
            self.idle.set()


def hand_out(loop: asyncio.AbstractEventLoop, pieces: list[tuple[Sequence, Piece]]) -> None:
    """From the engine's thread: give a step's pieces to their answers, in one hop."""
    loop.call_soon_threadsafe(_deliver, pieces)


def _deliver(pieces: list[tuple[Sequence, Piece]]) -> None:
    for sequence, piece in pieces:
        sequence.deliver(piece)
