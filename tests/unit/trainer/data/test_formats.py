"""Formats are recognised from their fields, roles are mapped, and what cannot be used is named by row and field."""

from typing import Any

import pytest

from finetune_trainer.contract import DataFormat, Stage
from finetune_trainer.data.examples import Conversation, Dropped, DropReason
from finetune_trainer.data.formats import recognise
from finetune_trainer.data.normalization import normalise
from finetune_trainer.data.sources import Record
from finetune_trainer.pod.errors import DataError


def chat(*turns: tuple[str, Any]) -> list[dict[str, Any]]:
    return [{"role": role, "content": content} for role, content in turns]


ASKED = chat(("user", "hi"), ("assistant", "hello"))
RECOGNISED: list[tuple[dict[str, Any], DataFormat, list[dict[str, Any]]]] = [
    ({"messages": ASKED}, DataFormat.MESSAGES, ASKED),
    ({"conversations": ASKED}, DataFormat.MESSAGES, ASKED),
    ({"messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}]}, ASKED[1]]}, DataFormat.MESSAGES, ASKED),
    ({"conversations": [{"from": "human", "value": "hi"}, {"from": "gpt", "value": "hello"}]}, DataFormat.SHAREGPT, ASKED),
    (
        {"system": "be kind", "conversations": [{"from": "user", "value": "hi"}, {"from": "assistant", "value": "hello"}]},
        DataFormat.SHAREGPT,
        chat(("system", "be kind")) + ASKED,
    ),
    ({"instruction": "hi", "output": "hello"}, DataFormat.ALPACA, ASKED),
    ({"instruction": "hi", "input": "you", "output": "hello"}, DataFormat.ALPACA, chat(("user", "hi\n\nyou"), ("assistant", "hello"))),
    ({"prompt": "hi", "completion": "hello"}, DataFormat.PROMPT_COMPLETION, ASKED),
    ({"question": "hi", "answer": "hello", "id": 3}, DataFormat.PROMPT_COMPLETION, ASKED),
    ({"prompt": ASKED[:1], "completion": ASKED[1:]}, DataFormat.PROMPT_COMPLETION, ASKED),
]


@pytest.mark.parametrize(("row", "expected", "messages"), RECOGNISED)
def test_formats_become_the_same_messages(row: dict[str, Any], expected: DataFormat, messages: list[dict[str, Any]]) -> None:
    record = Record(1, row)
    found = recognise([record], DataFormat.AUTO, Stage.SFT)
    assert (found.format, bool(found.reason)) == (expected, True)
    example = normalise(record, found.format)
    assert isinstance(example, Conversation)
    assert example.messages == messages


UNUSABLE = [
    ({"messages": chat(("user", "hi"), ("bot", "x"))}, DropReason.UNKNOWN_ROLE, "messages[1].role"),
    ({"messages": chat(("user", None), ("assistant", "x"))}, DropReason.NULL_CONTENT, "messages[0].content"),
    ({"messages": chat(("user", "hi"), ("assistant", "  "))}, DropReason.EMPTY_CONTENT, "messages[1].content"),
    ({"messages": chat(("user", "hi"), ("assistant", 7))}, DropReason.NOT_TEXT, "messages[1].content"),
    ({"messages": chat(("user", "hi"))}, DropReason.LAST_NOT_ASSISTANT, "messages[0].role"),
    ({"messages": chat(("assistant", "hi"), ("user", "x"))}, DropReason.LAST_NOT_ASSISTANT, "messages[1].role"),
    ({"messages": chat(("user", "hi"), ("system", "s"), ("assistant", "x"))}, DropReason.SYSTEM_NOT_FIRST, "messages[1].role"),
    ({"messages": chat(("user", "hi \ud83d"), ("assistant", "x"))}, DropReason.NOT_TEXT, "messages[0].content"),
    ({"messages": []}, DropReason.WRONG_SHAPE, "messages"),
    ({"messages": ["hi"]}, DropReason.WRONG_SHAPE, "messages[0]"),
    ("hi", DropReason.WRONG_SHAPE, ""),
]


@pytest.mark.parametrize(("row", "reason", "field"), UNUSABLE)
def test_unusable_rows_are_named_by_number_and_field_never_by_text(row: Any, reason: DropReason, field: str) -> None:
    dropped = normalise(Record(17, row), DataFormat.MESSAGES)
    assert isinstance(dropped, Dropped)
    assert (dropped.row, dropped.reason, dropped.field) == (17, reason, field)
    assert "hi" not in dropped.describe().replace("this", "")


def test_a_wrong_declaration_says_what_the_rows_look_like_instead() -> None:
    with pytest.raises(DataError, match="declared Alpaca, but row 1 looks like Messages") as caught:
        recognise([Record(1, {"messages": ASKED})], DataFormat.ALPACA, Stage.SFT)
    assert caught.value.reason == "WrongFormat"
    assert "Messages" in caught.value.hint


EVERYTHING = {"instruction": "hi", "input": "you", "output": "hello", "text": "hi you hello"}


@pytest.mark.parametrize(
    ("declared", "expected"),
    [
        (DataFormat.AUTO, DataFormat.ALPACA),
        (DataFormat.ALPACA, DataFormat.ALPACA),
        (DataFormat.PROMPT_COMPLETION, DataFormat.PROMPT_COMPLETION),
        (DataFormat.TEXT, DataFormat.TEXT),
    ],
)
def test_a_declared_format_that_fits_is_taken_although_another_is_likelier(declared: DataFormat, expected: DataFormat) -> None:
    found = recognise([Record(n, EVERYTHING) for n in range(1, 4)], declared, Stage.SFT)
    assert found.format is expected
    assert not isinstance(normalise(Record(1, EVERYTHING), found.format), Dropped)


def test_a_declared_format_that_explains_fewer_rows_than_another_is_refused() -> None:
    rows = [Record(1, {"text": "x"}), *(Record(n, {"messages": ASKED}) for n in (2, 3))]
    with pytest.raises(DataError, match="declared Text, but row 2 looks like Messages"):
        recognise(rows, DataFormat.TEXT, Stage.SFT)


@pytest.mark.parametrize("declared", [DataFormat.AUTO, DataFormat.TEXT])
def test_continued_pretraining_takes_the_text_of_rows_that_have_other_fields_too(declared: DataFormat) -> None:
    assert recognise([Record(n, EVERYTHING) for n in range(1, 4)], declared, Stage.CONTINUED_PRETRAINING).format is DataFormat.TEXT


def test_continued_pretraining_on_its_own_takes_no_text_that_some_rows_lack() -> None:
    rows = [Record(1, EVERYTHING), Record(2, {**EVERYTHING, "text": None})]
    with pytest.raises(DataError, match="learns from raw text, but the rows are Alpaca"):
        recognise(rows, DataFormat.AUTO, Stage.CONTINUED_PRETRAINING)


@pytest.mark.parametrize("row", [{"a": 1, "b": 2}, {"prompt": "x", "chosen": "y", "rejected": "z"}, [1, 2]])
def test_an_unknown_format_names_the_fields_and_lists_what_is_known(row: Any) -> None:
    with pytest.raises(DataError, match="UnknownFormat") as caught:
        recognise([Record(1, row)], DataFormat.AUTO, Stage.SFT)
    assert "messages" in caught.value.hint


SECRET = "the patient has"


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({SECRET: "a", "42": "b"}, "row 1 has 2 fields, none of them with a name we know"),
        ({"prompt": "x", SECRET: "a", "idea": "b"}, "row 1 has the fields prompt and 2 others"),
        ({"prompt": "x", "system": "y"}, "row 1 has the fields prompt, system"),
        ({}, "row 1 has 0 fields"),
    ],
)
def test_names_that_may_be_the_first_row_of_a_csv_without_header_are_never_told(row: dict[str, Any], told: str) -> None:
    with pytest.raises(DataError, match=told) as caught:
        recognise([Record(1, row)], DataFormat.AUTO, Stage.SFT)
    assert SECRET not in str(caught.value)
    assert "idea" not in caught.value.message
    assert "header line" in caught.value.hint


def test_continued_pretraining_refuses_conversations() -> None:
    with pytest.raises(DataError, match="learns from raw text"):
        recognise([Record(1, {"messages": ASKED})], DataFormat.AUTO, Stage.CONTINUED_PRETRAINING)
