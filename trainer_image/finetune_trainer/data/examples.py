"""The two things a row can be once its format is understood, and the reasons for which it can be neither."""

import hashlib
import json
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class DropReason(StrEnum):
    """Why a row is not learned from; the names appear in status."""

    WRONG_SHAPE = "WrongShape"
    UNKNOWN_ROLE = "UnknownRole"
    NULL_CONTENT = "NullContent"
    EMPTY_CONTENT = "EmptyContent"
    NOT_TEXT = "NotText"
    SYSTEM_NOT_FIRST = "SystemNotFirst"
    LAST_NOT_ASSISTANT = "LastNotAssistant"
    TARGET_NOT_JSON = "TargetNotJSON"
    TARGET_VIOLATES_SCHEMA = "TargetViolatesSchema"
    TEMPLATE_REFUSED = "TemplateRefused"
    NOTHING_TO_LEARN = "NothingToLearn"


@dataclass(frozen=True, slots=True)
class Conversation:
    """Chat messages ``{"role": system|user|assistant|tool, "content": text}``; the last one is the assistant's."""

    row: int
    messages: list[dict[str, str]]

    @property
    def prompt(self) -> list[dict[str, str]]:
        return self.messages[:-1]

    @property
    def target(self) -> str:
        return self.messages[-1]["content"]

    def content_hash(self) -> str:
        return _hash(self.messages)

    def plain(self) -> str:
        """What distinguishes this row from others: everything but the system prompt."""
        return "\n".join(message["content"] for message in self.messages if message["role"] != "system")

    def plain_prompt(self) -> str:
        return "\n".join(message["content"] for message in self.prompt if message["role"] != "system")


@dataclass(frozen=True, slots=True)
class Document:
    """Raw text."""

    row: int
    text: str

    def content_hash(self) -> str:
        return _hash(self.text)

    def plain(self) -> str:
        return self.text

    def plain_prompt(self) -> str:
        return self.text


Example = Conversation | Document


@dataclass(frozen=True, slots=True)
class Dropped:
    """A row that is left out: its number, a hash that finds it again, the reason and the field. Never its text."""

    row: int
    reason: DropReason
    field: str
    row_hash: str

    def describe(self) -> str:
        return f"row {self.row} ({self.row_hash}): {self.field}" if self.field else f"row {self.row} ({self.row_hash})"


def row_hash(value: Any) -> str:
    """Twelve hexadecimal digits that name a row without quoting it."""
    return _hash(value)[:12]


def _hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, ensure_ascii=False, default=str).encode("utf-8", "surrogatepass")).hexdigest()
