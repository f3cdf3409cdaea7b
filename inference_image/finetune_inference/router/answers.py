"""Reading answers: how one ended, and what text it held. Pure; the engine's bytes are not trusted to be what they should be."""

from dataclasses import dataclass
from typing import Any, Final

import orjson

TAIL: Final = 4096
"""Bytes of a stream's end that are kept: the last events hold finish reason, usage and the end mark."""

LAST_EVENTS: Final = 8
"""Events that are looked at: the finish of each choice, usage, an error, the end mark."""

REASONS: Final = ("stop", "length", "tool_calls", "content_filter", "other")
JUDGED: Final = ("stop", "length")
_DONE: Final = b"[DONE]"


@dataclass(frozen=True)
class Ending:
    """``done``: the stream said that it was complete; ``failed``: the engine reported an error inside it."""

    reason: str | None = None
    output_tokens: int | None = None
    done: bool = False
    failed: bool = False


def stream_ending(tail: bytes) -> Ending:
    """Read the last events of a stream; the first of them may be cut off at its beginning."""
    reason, tokens, done, failed = None, None, False, False
    for data in _events(tail)[-LAST_EVENTS:]:
        if data == _DONE:
            done = True
            continue
        document = _parsed(data)
        failed = failed or "error" in document
        found = body_ending(document)
        reason = found.reason or reason
        tokens = tokens if found.output_tokens is None else found.output_tokens
    return Ending(reason, tokens, done, failed)


def body_ending(document: dict[str, Any]) -> Ending:
    """The same of one JSON document: a whole reply, or one event."""
    reason = next((choice["finish_reason"] for choice in _choices(document) if choice.get("finish_reason")), None)
    usage = document.get("usage")
    tokens = usage.get("completion_tokens") if isinstance(usage, dict) else None
    return Ending(
        reason=None if reason is None else reason if reason in REASONS else "other",
        output_tokens=tokens if isinstance(tokens, int) and tokens >= 0 else None,
    )


def texts(answer: bytes, *, streamed: bool) -> list[str]:
    """The text of every choice that is all the caller gets, also where it is cut at a limit; tool calls and the like have nothing to check.

    A canary that never comes to an end would otherwise have no answers to be judged by.
    """
    by_choice: dict[int, list[str]] = {}
    ended: set[int] = set()
    for document in map(_parsed, _events(answer)) if streamed else (_parsed(answer),):
        for choice in _choices(document):
            index = choice.get("index", 0)
            if isinstance(text := _text_of(choice), str):
                by_choice.setdefault(index, []).append(text)
            if choice.get("finish_reason") in JUDGED:
                ended.add(index)
    return ["".join(parts) for index, parts in sorted(by_choice.items()) if index in ended]


def _text_of(choice: dict[str, Any]) -> object:
    """Chat (`message`, or `delta` when streamed) has ``content``, completions have ``text``."""
    inner = choice.get("message") or choice.get("delta")
    return inner.get("content") if isinstance(inner, dict) else choice.get("text")


def _choices(document: dict[str, Any]) -> list[dict[str, Any]]:
    choices = document.get("choices")
    if not isinstance(choices, list):
        return []
    return [choice for choice in choices if isinstance(choice, dict) and isinstance(choice.get("index", 0), int)]


def _events(stream: bytes) -> list[bytes]:
    return [line[5:].strip() for line in stream.splitlines() if line.startswith(b"data:")]


def _parsed(data: bytes) -> dict[str, Any]:
    try:
        document = orjson.loads(data)
    except orjson.JSONDecodeError:
        return {}
    return document if isinstance(document, dict) else {}
