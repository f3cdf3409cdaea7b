"""The loss on held-out rows during training: exact over tokens, free of side effects, and interruptible between batches.

The library's evaluation loop averages batch means, consumes random numbers (a resumed run would differ from an undisturbed one) and
cannot be left. This one does none of that.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager

import torch
from datasets import Dataset
from torch import distributed
from transformers import PreTrainedModel

from finetune_trainer.stages.processes import Process
from finetune_trainer.stages.rows import IGNORED, Batch, Row


def validation_loss(
    model: PreTrainedModel,
    rows: Dataset,
    collate: Callable[[list[Row]], Batch],
    batch_size: int,
    *,
    process: Process,
    stopped: Callable[[], bool] = lambda: False,
    compute: Callable[[], AbstractContextManager[object]],
) -> float | None:
    """Mean negative log-likelihood per learned token in nats; None when ``stopped`` before the end. Rows are shared by the processes."""
    device = next(model.parameters()).device
    sums = torch.zeros(3, dtype=torch.float64)
    training = model.training
    model.eval()
    try:
        for start in range(process.rank * batch_size, len(rows), process.count * batch_size):
            if stopped():
                sums[2] = 1
                break
            batch = collate([rows[number] for number in range(start, min(start + batch_size, len(rows)))])
            learned = int((batch["labels"][..., 1:] != IGNORED).sum())
            if learned == 0:
                continue
            with torch.no_grad(), compute():
                loss = model(**{name: tensor.to(device) for name, tensor in batch.items()}, use_cache=False).loss
            sums += torch.tensor([float(loss) * learned, learned, 0.0], dtype=torch.float64)
    finally:
        model.train(training)
    if process.count > 1:
        sums = sums.to(device)
        distributed.all_reduce(sums)
    total, tokens, left = (float(value) for value in sums)
    return None if left or tokens == 0 else total / tokens
