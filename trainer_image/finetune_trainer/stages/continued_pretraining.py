"""Continued pre-training: every token of raw text is learned.

The prepare step has closed each document with a stop token and cut the text into rows; with ``training.packing`` documents were joined
before and all rows have one length. There is nothing left to pack here: rows lie side by side.
"""

from finetune_trainer.contract import RunSpec, Stage
from finetune_trainer.stages.rows import PaddedBatches
from finetune_trainer.stages.stage import Collate, StageMethod


def _collate(spec: RunSpec, pad_token_id: int) -> Collate:  # noqa: ARG001 - every stage is asked the same way
    return PaddedBatches(pad_token_id)


CONTINUED_PRETRAINING = StageMethod(Stage.CONTINUED_PRETRAINING.value, _collate)
