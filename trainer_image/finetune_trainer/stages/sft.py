"""Supervised fine-tuning: the loss is taken where the sealed loss mask says so, usually on the answers."""

from finetune_trainer.contract import RunSpec, Stage
from finetune_trainer.stages.rows import PackedBatches, PaddedBatches
from finetune_trainer.stages.stage import Collate, StageMethod


def _collate(spec: RunSpec, pad_token_id: int) -> Collate:
    """Examples side by side; with ``training.packing`` end to end, kept apart by their positions."""
    return PackedBatches() if spec.training.packing else PaddedBatches(pad_token_id)


SFT = StageMethod(Stage.SFT.value, _collate)
