"""What a stage is to the loop: how its rows become batches."""

from collections.abc import Callable
from dataclasses import dataclass

from finetune_trainer.contract import RunSpec
from finetune_trainer.stages.rows import Batch, Row

Collate = Callable[[list[Row]], Batch]


@dataclass(frozen=True)
class StageMethod:
    """One stage; ``collate(spec, pad_token_id)`` makes the function that builds a batch."""

    name: str
    collate: Callable[[RunSpec, int], Collate]
