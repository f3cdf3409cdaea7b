"""From rendered text to token ids and the mask of learned tokens, in batches, because one row at a time costs ten times as much."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer
from transformers import PreTrainedTokenizerFast

from finetune_trainer.data.rendering import Rendered

BATCH = 512


@dataclass(frozen=True)
class TokenizedRow:
    """``input_ids`` int32 and ``loss_mask`` int8 of equal length; ``truncated`` tells whether the row was longer than allowed."""

    row: int
    input_ids: NDArray[np.int32]
    loss_mask: NDArray[np.int8]
    truncated: bool = False

    @property
    def learned(self) -> int:
        return int(self.loss_mask[1:].sum())  # nothing predicts the first token


def tokenize(tokenizer: PreTrainedTokenizerFast, rows: Sequence[Rendered], max_length: int | None) -> Iterator[TokenizedRow]:
    """Token ids per row, cut on the right after ``max_length`` tokens."""
    backend = tokenizer.backend_tokenizer
    backend.no_truncation()
    backend.no_padding()
    for start in range(0, len(rows), BATCH):
        batch = rows[start : start + BATCH]
        special = batch[0].special_tokens
        if any(row.special_tokens is not special for row in batch):
            raise AssertionError("raw text and chats are tokenised apart")
        encodings = backend.encode_batch([row.text for row in batch], add_special_tokens=special)
        for row, encoding in zip(batch, encodings, strict=True):
            if any(_straddles(encoding, place) for span in row.spans for place in span):
                ids, mask = _in_parts(backend, row)
            else:
                ids = np.array(encoding.ids, dtype=np.int32)
                mask = _mask(row, encoding, len(ids))
            end = tokenizer.eos_token_id
            if special and len(ids) > 1 and ids[-1] == ids[-2] == end:
                ids, mask = ids[:-1], mask[:-1]  # this tokenizer closes every text by itself
            yield _cut(row.row, ids, mask, max_length)


def _straddles(encoding: Encoding, place: int) -> bool:
    """Whether one token holds characters from both sides of ``place``."""
    token = encoding.char_to_token(place)
    bounds = None if token is None else encoding.token_to_chars(token)
    return bounds is not None and bounds[0] < place


def _in_parts(backend: Tokenizer, row: Rendered) -> tuple[NDArray[np.int32], NDArray[np.int8]]:
    """What is given and what is learned tokenised apart, as at serving time, where the prompt ends before the answer begins."""
    bounds = sorted({0, len(row.text), *(place for span in row.spans for place in span)})
    ids: list[int] = []
    mask: list[int] = []
    for start, end in pairwise(bounds):
        part = backend.encode(row.text[start:end], add_special_tokens=row.special_tokens and start == 0).ids
        ids.extend(part)
        mask.extend([int(any(first <= start and end <= last for first, last in row.spans))] * len(part))
    return np.array(ids, dtype=np.int32), np.array(mask, dtype=np.int8)


def _mask(row: Rendered, encoding: Encoding, length: int) -> NDArray[np.int8]:
    mask = np.zeros(length, dtype=np.int8)
    for start, end in row.spans:
        if start == 0 and end == len(row.text):
            mask[:] = 1
            break
        first, last = _token_in(encoding, range(start, end)), _token_in(encoding, range(end - 1, start - 1, -1))
        if first is not None and last is not None:
            mask[first : last + 1] = 1
    return mask


def _token_in(encoding: Encoding, places: range) -> int | None:
    """The token of the first place that has one: some tokenizers drop spaces."""
    return next((int(token) for place in places if (token := encoding.char_to_token(place)) is not None), None)


def _cut(row: int, ids: NDArray[np.int32], mask: NDArray[np.int8], max_length: int | None) -> TokenizedRow:
    if max_length is None or len(ids) <= max_length:
        return TokenizedRow(row, ids, mask)
    return TokenizedRow(row, ids[:max_length], mask[:max_length], truncated=True)
