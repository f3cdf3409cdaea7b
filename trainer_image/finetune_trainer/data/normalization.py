"""One shape for every format: roles are mapped and checked here because the training library accepts wrong ones without a word.

Each function returns an example, or ``Dropped`` with the reason and the field: never an exception for what a row contains.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

from finetune_trainer.contract import DataFormat
from finetune_trainer.data.examples import Conversation, Document, Dropped, DropReason, Example, row_hash
from finetune_trainer.data.formats import ALPACA_ANSWERS, CHAT_FIELDS, PROMPT_FIELDS
from finetune_trainer.data.sources import Record

_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
_ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant", "tool": "tool"}
_SHAREGPT_ROLES = {
    **_ROLES,
    "human": "user",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "bot": "assistant",
    "model": "assistant",
    "observation": "tool",
}


class _Unusable(Exception):
    """Ends the reading of one row; never leaves this module."""

    def __init__(self, reason: DropReason, field: str) -> None:
        super().__init__(reason.value)
        self.reason = reason
        self.field = field


def normalise(record: Record, data_format: DataFormat) -> Example | Dropped:
    """The row as a conversation or a document; ``data_format`` is never Auto."""
    try:
        return _NORMALISERS[data_format](record)
    except _Unusable as unusable:
        return Dropped(record.number, unusable.reason, unusable.field, row_hash(record.value))


def _messages(record: Record) -> Example:
    return _conversation(record, "role", "content", _ROLES)


def _sharegpt(record: Record) -> Example:
    return _conversation(record, "from", "value", _SHAREGPT_ROLES)


def _conversation(record: Record, role_key: str, content_key: str, roles: Mapping[str, str]) -> Example:
    row = _object(record.value)
    field = next((name for name in CHAT_FIELDS if name in row), "messages")
    turns = row.get(field)
    if not isinstance(turns, list) or not turns:
        raise _Unusable(DropReason.WRONG_SHAPE, field)
    messages = [_message(turn, f"{field}[{index}]", role_key, content_key, roles) for index, turn in enumerate(turns)]
    system = row.get("system")
    if isinstance(system, str) and system.strip() and messages[0]["role"] != "system":
        messages.insert(0, {"role": "system", "content": system})
    return _checked(record.number, messages, field)


def _message(turn: Any, field: str, role_key: str, content_key: str, roles: Mapping[str, str]) -> dict[str, str]:
    if not isinstance(turn, Mapping):
        raise _Unusable(DropReason.WRONG_SHAPE, field)
    name = turn.get(role_key)
    role = roles.get(name) if isinstance(name, str) else None
    if role is None:
        raise _Unusable(DropReason.UNKNOWN_ROLE, f"{field}.{role_key}")
    return {"role": role, "content": _text(turn.get(content_key), f"{field}.{content_key}")}


def _alpaca(record: Record) -> Example:
    row = _object(record.value)
    answer = next((name for name in ALPACA_ANSWERS if name in row), "output")
    prompt = _text(row.get("instruction"), "instruction")
    if row.get("input"):
        prompt = f"{prompt}\n\n{_text(row['input'], 'input')}"
    messages = [{"role": "user", "content": prompt}, {"role": "assistant", "content": _text(row.get(answer), answer)}]
    if isinstance(row.get("system"), str) and row["system"].strip():
        messages.insert(0, {"role": "system", "content": row["system"]})
    return _checked(record.number, messages, answer)


def _prompt_completion(record: Record) -> Example:
    row = _object(record.value)
    for prompt_field, answer_field in PROMPT_FIELDS:
        if prompt_field in row and answer_field in row:
            prompt, answer = row[prompt_field], row[answer_field]
            break
    else:
        raise _Unusable(DropReason.WRONG_SHAPE, "prompt")
    messages = _turns(prompt, prompt_field, "user") + _turns(answer, answer_field, "assistant")
    return _checked(record.number, messages, answer_field)


def _turns(value: Any, field: str, role: str) -> list[dict[str, str]]:
    if isinstance(value, list):
        return [_message(turn, f"{field}[{index}]", "role", "content", _ROLES) for index, turn in enumerate(value)]
    return [{"role": role, "content": _text(value, field)}]


def _document(record: Record) -> Example:
    value = record.value if isinstance(record.value, str) else _object(record.value).get("text")
    return Document(record.number, _text(value, "text"))


def _object(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise _Unusable(DropReason.WRONG_SHAPE, "")
    return value


def _text(value: Any, field: str) -> str:
    if isinstance(value, list):  # content in parts, as multi-modal clients write it
        parts = [part.get("text") if isinstance(part, Mapping) and part.get("type") == "text" else None for part in value]
        if not parts or not all(isinstance(part, str) for part in parts):
            raise _Unusable(DropReason.NOT_TEXT, field)
        value = "".join(str(part) for part in parts)
    if value is None:
        raise _Unusable(DropReason.NULL_CONTENT, field)
    if not isinstance(value, str):
        raise _Unusable(DropReason.NOT_TEXT, field)
    if not value.strip():
        raise _Unusable(DropReason.EMPTY_CONTENT, field)
    if not value.isascii() and _LONE_SURROGATE.search(value):
        raise _Unusable(DropReason.NOT_TEXT, field)  # half a character, which no tokenizer can read
    return value


def _checked(number: int, messages: list[dict[str, str]], field: str) -> Example:
    for index, message in enumerate(messages):
        if message["role"] == "system" and index:
            raise _Unusable(DropReason.SYSTEM_NOT_FIRST, f"{field}[{index}].role")
    if len(messages) < 2 or messages[-1]["role"] != "assistant":
        raise _Unusable(DropReason.LAST_NOT_ASSISTANT, f"{field}[{len(messages) - 1}].role")
    return Conversation(number, messages)


_NORMALISERS: dict[DataFormat, Callable[[Record], Example]] = {
    DataFormat.MESSAGES: _messages,
    DataFormat.SHAREGPT: _sharegpt,
    DataFormat.ALPACA: _alpaca,
    DataFormat.PROMPT_COMPLETION: _prompt_completion,
    DataFormat.TEXT: _document,
}
