"""Answers in OpenAI's shapes: whole ones, and the chunks of a stream as server-sent events."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from finetune_inference.server.sequence import TokenFacts

DONE = b"data: [DONE]\n\n"
Spell = Callable[[int], str]


def event(document: dict[str, Any]) -> bytes:
    """One server-sent event."""
    return b"data: " + orjson.dumps(document) + b"\n\n"


@dataclass(frozen=True)
class Usage:
    prompt: int
    completion: int

    def body(self) -> dict[str, int]:
        return {"prompt_tokens": self.prompt, "completion_tokens": self.completion, "total_tokens": self.prompt + self.completion}


@dataclass(frozen=True)
class Head:
    """What all parts of one answer repeat."""

    id: str
    created: int
    model: str

    def part(self, kind: str, choices: list[dict[str, Any]], usage: Usage | None = None) -> dict[str, Any]:
        made: dict[str, Any] = {"id": self.id, "object": kind, "created": self.created, "model": self.model, "choices": choices}
        if usage is not None:
            made["usage"] = usage.body()
        return made


@dataclass(frozen=True)
class ChatForm:
    """The shapes of ``/v1/chat/completions``. ``spell`` gives a token's text; None when nobody asked for likelihoods."""

    head: Head
    spell: Spell | None = None

    def opening(self) -> dict[str, Any] | None:
        delta = {"role": "assistant", "content": ""}
        return self.head.part("chat.completion.chunk", [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": None}])

    def chunk(self, text: str, facts: Sequence[TokenFacts], finish: str | None, _: int) -> dict[str, Any]:
        delta = {"content": text} if text or finish is None else {}
        choice = {"index": 0, "delta": delta, "logprobs": self._likelihoods(facts), "finish_reason": finish}
        return self.head.part("chat.completion.chunk", [choice])

    def usage_chunk(self, usage: Usage) -> dict[str, Any]:
        return self.head.part("chat.completion.chunk", [], usage)

    def whole(self, text: str, facts: Sequence[TokenFacts], finish: str, usage: Usage) -> dict[str, Any]:
        message = {"role": "assistant", "content": text}
        choice = {"index": 0, "message": message, "logprobs": self._likelihoods(facts), "finish_reason": finish}
        return self.head.part("chat.completion", [choice], usage)

    def _likelihoods(self, facts: Sequence[TokenFacts]) -> dict[str, Any] | None:
        if self.spell is None or not facts:
            return None
        content = []
        for fact in facts:
            top = [_entry(self.spell(token), value) for token, value in fact.likelihoods.top]
            content.append({**_entry(self.spell(fact.token), fact.likelihoods.chosen), "top_logprobs": top})
        return {"content": content}


@dataclass(frozen=True)
class CompletionForm:
    """The shapes of ``/v1/completions``."""

    head: Head
    spell: Spell | None = None

    def opening(self) -> dict[str, Any] | None:
        return None

    def chunk(self, text: str, facts: Sequence[TokenFacts], finish: str | None, before: int) -> dict[str, Any]:
        return self.head.part("text_completion", [self._choice(text, facts, finish, before)])

    def usage_chunk(self, usage: Usage) -> dict[str, Any]:
        return self.head.part("text_completion", [], usage)

    def whole(self, text: str, facts: Sequence[TokenFacts], finish: str, usage: Usage) -> dict[str, Any]:
        return self.head.part("text_completion", [self._choice(text, facts, finish, 0)], usage)

    def _choice(self, text: str, facts: Sequence[TokenFacts], finish: str | None, before: int) -> dict[str, Any]:
        return {"index": 0, "text": text, "logprobs": self._likelihoods(facts, before), "finish_reason": finish}

    def _likelihoods(self, facts: Sequence[TokenFacts], before: int) -> dict[str, Any] | None:
        """``before`` is the length of the answer's text so far, from which offsets count."""
        if self.spell is None or not facts:
            return None
        tokens = [self.spell(fact.token) for fact in facts]
        offsets = []
        for token in tokens:
            offsets.append(before)
            before += len(token)
        return {
            "tokens": tokens,
            "token_logprobs": [_finite(fact.likelihoods.chosen) for fact in facts],
            "top_logprobs": [self._top(fact) for fact in facts],
            "text_offset": offsets,
        }

    def _top(self, fact: TokenFacts) -> dict[str, float]:
        """The chosen token is always among them, as OpenAI has it."""
        assert self.spell is not None
        pairs = [*fact.likelihoods.top, (fact.token, fact.likelihoods.chosen)]
        return {self.spell(token): _finite(value) for token, value in reversed(pairs)}


Form = ChatForm | CompletionForm


def _entry(token: str, value: float) -> dict[str, Any]:
    return {"token": token, "logprob": _finite(value), "bytes": list(token.encode())}


def _finite(logarithm: float) -> float:
    """JSON has no infinity; vLLM writes this for a token that cannot come."""
    return max(logarithm, -9999.0)
