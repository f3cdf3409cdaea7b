"""Sealed rows as batches: nothing is tokenised again, and padding never reaches the loss."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from datasets.table import InMemoryTable
from pyarrow import parquet

from finetune_trainer.pod.errors import DataError

IGNORED = -100
"""The label that cross entropy leaves out (PyTorch's ``ignore_index``)."""

Row = Mapping[str, np.ndarray[Any, np.dtype[np.integer[Any]]]]
Batch = dict[str, torch.Tensor]


def load_rows(path: Path) -> Dataset:
    """The rows the prepare step sealed: ``input_ids`` and ``loss_mask`` of equal length. Raises ``DataError`` for an empty file."""
    table = parquet.read_table(path, columns=["input_ids", "loss_mask"])
    if table.num_rows == 0:
        raise DataError("EmptyDataset", f"{path.name} holds no rows", "Look at the data report for why rows were dropped.")
    return Dataset(InMemoryTable(table)).with_format("numpy")


@dataclass(frozen=True)
class PaddedBatches:
    """Rows side by side, filled up to the longest: tensors of shape ``(rows, longest)``."""

    pad_token_id: int

    def __call__(self, rows: Sequence[Row]) -> Batch:
        longest = max(len(row["input_ids"]) for row in rows)
        ids = torch.full((len(rows), longest), self.pad_token_id, dtype=torch.long)
        labels = torch.full((len(rows), longest), IGNORED, dtype=torch.long)
        attention = torch.zeros((len(rows), longest), dtype=torch.long)
        for number, row in enumerate(rows):
            tokens, learned = _tensors(row)
            ids[number, : len(tokens)] = tokens
            labels[number, : len(tokens)] = torch.where(learned, tokens, IGNORED)
            attention[number, : len(tokens)] = 1
        return {"input_ids": ids, "attention_mask": attention, "labels": labels}


@dataclass(frozen=True)
class PackedBatches:
    """Rows end to end in one sequence without padding: tensors of shape ``(1, tokens)``.

    Positions start again with every row, from which the model builds an attention mask that keeps rows apart; the first token of a row is
    never predicted from the row before. The loss equals the padded one.
    """

    def __call__(self, rows: Sequence[Row]) -> Batch:
        ids, labels, positions = [], [], []
        for row in rows:
            tokens, learned = _tensors(row)
            targets = torch.where(learned, tokens, IGNORED)
            targets[0] = IGNORED
            ids.append(tokens)
            labels.append(targets)
            positions.append(torch.arange(len(tokens)))
        return {
            "input_ids": torch.cat(ids).unsqueeze(0),
            "labels": torch.cat(labels).unsqueeze(0),
            "position_ids": torch.cat(positions).unsqueeze(0),
        }


def _tensors(row: Row) -> tuple[torch.Tensor, torch.Tensor]:
    tokens = torch.from_numpy(np.asarray(row["input_ids"], dtype=np.int64))
    return tokens, torch.from_numpy(np.asarray(row["loss_mask"], dtype=np.bool_))


def fed_tokens(batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """How many tokens of a batch are not padding, as a scalar on the batch's device."""
    mask = batch.get("attention_mask")
    return mask.sum() if mask is not None else torch.tensor(batch["input_ids"].numel(), device=batch["input_ids"].device)
