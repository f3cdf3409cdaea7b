"""Held-out rows as evaluation items: the question as a server would get it, and the wanted answer."""

from collections.abc import Sequence

from finetune_trainer.data.base_model import BaseModel
from finetune_trainer.data.examples import Document, Example


def evaluation_items(examples: Sequence[Example], base: BaseModel, length: int) -> list[dict[str, object]]:
    """``{"row", "prompt", "reference"}`` per example; raw text has an empty prompt and at most ``length`` tokens of reference."""
    has_template = bool(base.tokenizer.chat_template)
    items: list[dict[str, object]] = []
    for example in examples:
        if isinstance(example, Document):
            items.append({"row": example.row, "prompt": "", "reference": _first_tokens(base, example.text, length)})
        else:
            prompt = example.prompt if has_template else example.prompt[-1]["content"]
            items.append({"row": example.row, "prompt": prompt, "reference": example.target})
    return items


def _first_tokens(base: BaseModel, text: str, length: int) -> str:
    offsets = base.tokenizer.backend_tokenizer.encode(text, add_special_tokens=False).offsets
    return text if len(offsets) <= length else text[: offsets[length - 1][1]]
