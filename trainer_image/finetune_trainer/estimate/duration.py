"""How long a training will take: operations needed, divided by what such a device was seen to do. An order of magnitude, no promise.

Operations per token and weight follow Kaplan et al., arXiv:2001.08361, section 2.1: two forward, four backward; frozen weights need no
gradient of their own (two backward), recomputed activations a second forward pass.
"""

from finetune_trainer.estimate.memory import Method
from finetune_trainer.estimate.shape import ModelShape

START_SECONDS = 20
"""Imports, loading and the first, slower step."""
CPU_THREAD_RATE = 5e10
"""Operations a second per thread in float32; measured on server CPUs with AVX-512, 2 million to 135 million parameters."""
GPU_RATE = 5e13
"""Operations a second per accelerator; an assumption for current data-centre cards, not measured here."""


def training_seconds(shape: ModelShape, method: Method, tokens: int, *, checkpointing: bool, rate: float) -> int:
    """Seconds for ``tokens`` in total, padding included, at ``rate`` operations a second."""
    per_weight = 6 if method.full else 4
    return START_SECONDS + round((per_weight + 2 * checkpointing) * shape.parameters * tokens / rate)


def evaluation_seconds(shape: ModelShape, items: int, tokens_per_item: int, *, rate: float) -> int:
    """Base and tuned model answer ``items``; answers are generated token by token, at about a quarter of the training rate."""
    return round(2 * items * tokens_per_item * 2 * shape.parameters / (rate / 4))
