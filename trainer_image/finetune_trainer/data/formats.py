"""Which format a dataset is in, told from its fields, and why: a wrong guess would train on the wrong words without a sign of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from finetune_trainer.contract import DataFormat, Stage
from finetune_trainer.data.sources import Record
from finetune_trainer.pod.errors import DataError

PROMPT_FIELDS = (("prompt", "completion"), ("prompt", "response"), ("prompt", "answer"), ("question", "answer"), ("input", "output"))
CHAT_FIELDS = ("messages", "conversations", "conversation")
ALPACA_ANSWERS = ("output", "response")
_PREFERENCE = ("chosen", "rejected")
_VOCABULARY = {
    *CHAT_FIELDS,
    *ALPACA_ANSWERS,
    *_PREFERENCE,
    "instruction",
    "system",
    "text",
    *(field for pair in PROMPT_FIELDS for field in pair),
}
"""Field names that may be told. Any other name is data: a CSV without a header line has the words of its first row for names."""


@dataclass(frozen=True)
class Recognition:
    format: DataFormat
    reason: str


def recognise(sample: Sequence[Record], declared: DataFormat, stage: Stage, name: str = "dataset.inline") -> Recognition:
    """The format of a dataset from its first rows; ``name`` is the field of the FineTuneJob that describes the dataset.

    A declared format is taken when no other explains more rows. Raises ``DataError`` when the format is none we know, another one than
    declared, or one that the stage cannot learn from.
    """
    readings = [_readings(record.value) for record in sample]
    likely = [found[0] for found in readings if found]
    if not likely:
        raise DataError("UnknownFormat", f"{name}: {_fields(sample[0])}, which is no format we know", _expected(stage))
    found = max(likely, key=lambda reading: _count(readings, reading.format, first=True))
    wanted = _wanted(sample, declared, stage)
    if wanted is not None and _count(readings, wanted) >= _count(readings, found.format, first=True):
        found = next(reading for of_row in readings for reading in of_row if reading.format is wanted)
    if declared is not DataFormat.AUTO and found.format is not declared:
        first = next(record for record, of_row in zip(sample, readings, strict=True) if of_row and of_row[0].format is found.format)
        message = f"{name}.format: declared {declared.value}, but row {first.number} looks like {found.format.value} ({found.reason})"
        raise DataError("WrongFormat", message, f"Set the format to {found.format.value} or Auto, or point to another file.")
    if stage is Stage.CONTINUED_PRETRAINING and found.format is not DataFormat.TEXT:
        message = f"{name}: ContinuedPretraining learns from raw text, but the rows are {found.format.value} ({found.reason})"
        raise DataError("WrongFormat", message, "Use stage SFT for this dataset, or rows with a field text.")
    return found


def _wanted(sample: Sequence[Record], declared: DataFormat, stage: Stage) -> DataFormat | None:
    """The format that goes before likelier ones: the declared one, or text where only that is learned from and every row has it."""
    if declared is not DataFormat.AUTO:
        return declared
    texts = [record.value.get("text") if isinstance(record.value, Mapping) else record.value for record in sample]
    return DataFormat.TEXT if stage is Stage.CONTINUED_PRETRAINING and all(isinstance(text, str) for text in texts) else None


def _count(readings: Sequence[Sequence[Recognition]], wanted: DataFormat, *, first: bool = False) -> int:
    """How many rows can be read as ``wanted``, or would be ``first`` of all."""
    return sum(any(reading.format is wanted for reading in (of_row[:1] if first else of_row)) for of_row in readings)


def _readings(value: Any) -> list[Recognition]:
    """Every format whose fields a row has, the likeliest first."""
    if isinstance(value, str):
        return [Recognition(DataFormat.TEXT, "rows are plain strings")]
    if not isinstance(value, Mapping):
        return []
    found = [_chat_format(value)]
    if "instruction" in value and any(field in value for field in ALPACA_ANSWERS):
        found.append(Recognition(DataFormat.ALPACA, "fields instruction and output"))
    pair = next((pair for pair in PROMPT_FIELDS if all(field in value for field in pair)), None)
    if pair is not None:
        found.append(Recognition(DataFormat.PROMPT_COMPLETION, f"fields {pair[0]} and {pair[1]}"))
    if "text" in value:
        found.append(Recognition(DataFormat.TEXT, "field text"))
    return [reading for reading in found if reading is not None]


def _chat_format(row: Mapping[str, Any]) -> Recognition | None:
    for field in CHAT_FIELDS:
        turns = row.get(field)
        turn = turns[0] if isinstance(turns, list) and turns and isinstance(turns[0], Mapping) else {}
        if "from" in turn and "value" in turn:
            return Recognition(DataFormat.SHAREGPT, f"field {field} with from and value")
        if "role" in turn or field in row:
            return Recognition(DataFormat.MESSAGES, f"field {field}")
    return None


def _fields(record: Record) -> str:
    if not isinstance(record.value, Mapping):
        return f"row {record.number} is {type(record.value).__name__}, not an object"
    if all(field in record.value for field in _PREFERENCE):
        return f"row {record.number} has chosen and rejected answers: a preference dataset"
    known = sorted(name for name in record.value if name in _VOCABULARY)
    others = len(record.value) - len(known)
    if not known:
        return f"row {record.number} has {others} fields, none of them with a name we know"
    return f"row {record.number} has the fields {', '.join(known)}" + (f" and {others} others" if others else "")


def _expected(stage: Stage) -> str:
    if stage is Stage.CONTINUED_PRETRAINING:
        return "Rows of a field text are needed; a CSV file needs a header line."
    return (
        "Known are messages (role, content), conversations (from, value), instruction/input/output, prompt/completion "
        "(also prompt/response, question/answer, input/output) and text; a CSV file needs a header line."
    )
