"""What an engine answered, read with suspicion: sizes are bounded, shapes are checked, and no more is kept than is needed."""

import json
import math
from dataclasses import dataclass
from typing import Any

from finetune_inference.engine.errors import AnswerUnreadable

MESSAGE_LIMIT = 400


@dataclass(frozen=True)
class ServedModel:
    """An entry of ``/v1/models``. ``root`` is where the weights came from; adapters name their base as ``parent``.

    ``created`` of vLLM is the time of the answer, not of the start.
    """

    name: str
    root: str | None = None
    parent: str | None = None
    created: int | None = None


def served_models(body: bytes) -> tuple[ServedModel, ...]:
    """Parse ``/v1/models``; raises ``AnswerUnreadable``."""
    entries = _object(body).get("data")
    if not isinstance(entries, list):
        raise AnswerUnreadable("/v1/models holds no list named data")
    return tuple(_model(entry) for entry in entries if isinstance(entry, dict) and isinstance(entry.get("id"), str))


def first_token(body: bytes) -> dict[str, float]:
    """Token text to log-probability of the first generated token's alternatives, from ``/v1/completions``; raises ``AnswerUnreadable``."""
    try:
        found = _object(body)["choices"][0]["logprobs"]["top_logprobs"][0]
        tokens = {str(token): float(value) for token, value in found.items()}
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        raise AnswerUnreadable("/v1/completions holds no top log-probabilities") from error
    if not tokens or not all(math.isfinite(value) for value in tokens.values()):
        raise AnswerUnreadable("/v1/completions holds log-probabilities that are no finite numbers")
    return tokens


def error_message(body: bytes) -> str | None:
    """The message of an OpenAI-shaped error; None for another shape, such as a web framework's own 404."""
    try:
        document = json.loads(body)
    except ValueError:
        return None
    error = document.get("error", document) if isinstance(document, dict) else None
    message = error.get("message") if isinstance(error, dict) else None
    return message[:MESSAGE_LIMIT] if isinstance(message, str) else None


def process_start(text: str) -> str | None:
    """The process start time in a Prometheus exposition, in hundredths of a second since 1970; None where there is none."""
    for line in text.splitlines():
        name, _, value = line.partition(" ")
        if name == "process_start_time_seconds":
            try:
                return f"{float(value.split()[0]):.2f}"
            except (ValueError, IndexError):
                return None
    return None


def _model(entry: dict[str, Any]) -> ServedModel:
    root, parent, created = entry.get("root"), entry.get("parent"), entry.get("created")
    return ServedModel(
        name=entry["id"],
        root=root if isinstance(root, str) else None,
        parent=parent if isinstance(parent, str) else None,
        created=created if isinstance(created, int) else None,
    )


def _object(body: bytes) -> dict[str, Any]:
    try:
        document = json.loads(body)
    except ValueError as error:
        raise AnswerUnreadable("the engine's answer is not JSON") from error
    if not isinstance(document, dict):
        raise AnswerUnreadable("the engine's answer is not a JSON object")
    return document
