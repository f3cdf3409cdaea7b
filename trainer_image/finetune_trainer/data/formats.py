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


def recognise(sample: Sequence[Record], declared: DataFormat, stage: Stage, name: str = "dataset") -> Recognition:
    """The format of a dataset from its first rows.

    Raises ``DataError`` when it is none we know, another one than declared, or one that the stage cannot learn from.
    """
    guesses = [_format_of(record.value) for record in sample]
    known = [guess for guess in guesses if guess is not None]
    if not known:
        raise DataError("UnknownFormat", f"{name}: {_fields(sample[0])}, which is no format we know", _expected(stage))
    found = max(known, key=lambda guess: sum(other.format is guess.format for other in known))
    if declared is not DataFormat.AUTO and found.format is not declared:
        first = next(record for record, guess in zip(sample, guesses, strict=True) if guess is not None and guess.format is found.format)
        message = f"{name}: declared {declared.value}, but row {first.number} looks like {found.format.value} ({found.reason})"
        raise DataError("WrongFormat", message, f"Set the format to {found.format.value} or Auto, or point to another file.")
    if stage is Stage.CONTINUED_PRETRAINING and found.format is not DataFormat.TEXT:
        message = f"{name}: ContinuedPretraining learns from raw text, but the rows are {found.format.value} ({found.reason})"
        raise DataError("WrongFormat", message, "Use stage SFT for this dataset, or rows with a field text.")
    return found


def _format_of(value: Any) -> Recognition | None:
    if isinstance(value, str):
        return Recognition(DataFormat.TEXT, "rows are plain strings")
    if not isinstance(value, Mapping):
        return None
    return _chat_format(value) or _flat_format(value)


def _chat_format(row: Mapping[str, Any]) -> Recognition | None:
    for field in CHAT_FIELDS:
        turns = row.get(field)
        turn = turns[0] if isinstance(turns, list) and turns and isinstance(turns[0], Mapping) else {}
        if "from" in turn and "value" in turn:
            return Recognition(DataFormat.SHAREGPT, f"field {field} with from and value")
        if "role" in turn or field in row:
            return Recognition(DataFormat.MESSAGES, f"field {field}")
    return None


def _flat_format(row: Mapping[str, Any]) -> Recognition | None:
    if "instruction" in row and any(field in row for field in ALPACA_ANSWERS):
        return Recognition(DataFormat.ALPACA, "fields instruction and output")
    for prompt, answer in PROMPT_FIELDS:
        if prompt in row and answer in row:
            return Recognition(DataFormat.PROMPT_COMPLETION, f"fields {prompt} and {answer}")
    return Recognition(DataFormat.TEXT, "field text") if "text" in row else None


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
