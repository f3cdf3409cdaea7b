"""One request on its way through the engine, and what the engine tells about it."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from finetune_inference.server.sampling import Likelihoods, Sampling
from finetune_inference.server.text import Transcript


class Finish(StrEnum):
    """Why an answer ended, in the words of vLLM's metrics."""

    STOP = "stop"
    LENGTH = "length"
    ABORT = "abort"
    ERROR = "error"


@dataclass(frozen=True)
class TokenFacts:
    """A generated token with its likelihoods, for requests that asked."""

    token: int
    likelihoods: Likelihoods


@dataclass(frozen=True)
class Piece:
    """New text of an answer; ``tokens`` were generated since the last piece. The last piece has ``finish``."""

    text: str
    tokens: int
    facts: tuple[TokenFacts, ...] = ()
    finish: Finish | None = None
    error: str | None = None


@dataclass(frozen=True)
class Preamble:
    """What a prompt or prefix adapter puts before the prompt: embeddings (tokens, width), or keys and values per layer."""

    tokens: int
    embeddings: Any = None
    states: tuple[Any, ...] = ()


@dataclass(eq=False)
class Sequence:
    """``adapter`` is None for the base model. ``deliver`` is called in the event loop."""

    prompt: list[int]
    max_tokens: int
    sampling: Sampling
    stops: frozenset[int]
    transcript: Transcript
    arrived: float
    deliver: Callable[[Piece], None]
    adapter: str | None = None
    label: str = ""
    preamble: Preamble | None = None
    streams: bool = False
    source: random.Random = field(init=False)
    row: int = -1
    computed: int = 0
    extent: int = 0
    generated: int = 0
    last_token: int = -1
    first_token_at: float = 0.0
    last_token_at: float = 0.0
    cancelled: bool = False
    _text: list[str] = field(default_factory=list)
    _facts: list[TokenFacts] = field(default_factory=list)
    _undelivered: int = 0

    def __post_init__(self) -> None:
        self.source = self.sampling.source()

    @property
    def given(self) -> int:
        """Positions that are filled before the first token is generated."""
        return len(self.prompt) + (self.preamble.tokens if self.preamble else 0)

    @property
    def length(self) -> int:
        """Positions filled once the last token is computed."""
        return self.given + self.generated

    @property
    def reserved(self) -> int:
        """Positions it may ever need."""
        return self.given + self.max_tokens

    def take(self, token: int, likelihoods: Likelihoods | None, now: float) -> Finish | None:
        """Add a generated token; says whether and why the answer ends with it."""
        self.last_token, self.last_token_at = token, now
        self.generated += 1
        self._undelivered += 1
        if token in self.stops:
            self._text.append(self.transcript.rest())
            return Finish.STOP
        if likelihoods is not None:
            self._facts.append(TokenFacts(token, likelihoods))
        text, stopped = self.transcript.add(token)
        self._text.append(text)
        if stopped:
            return Finish.STOP
        if self.generated >= self.max_tokens:
            self._text.append(self.transcript.rest())
            return Finish.LENGTH
        return None

    def piece(self, finish: Finish | None = None, error: str | None = None) -> Piece:
        """All that was not delivered yet."""
        made = Piece("".join(self._text), self._undelivered, tuple(self._facts), finish, error)
        self._text.clear()
        self._facts.clear()
        self._undelivered = 0
        return made
