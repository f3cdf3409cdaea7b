"""How surprised a model is by the wanted answer: negative log-likelihood of the reference tokens after the prompt."""

from collections.abc import Callable, Iterator, Sequence

import torch
from transformers import PreTrainedModel

from finetune_trainer.evaluation.batches import BatchSize
from finetune_trainer.evaluation.decoding import raise_if_stopped
from finetune_trainer.evaluation.prompts import TokenizedItem

_LOGITS = 1 << 26
"""Logits computed at once: 256 MiB in float32. Long references of a large vocabulary would need gigabytes otherwise."""
_HINT = "Leave the longest items out of the evaluation, or raise spec.resources.limits.memory (on an accelerator: take a larger one)."


def reference_nats(
    model: PreTrainedModel,
    items: Sequence[TokenizedItem],
    *,
    batch_size: int,
    stop: Callable[[], bool],
    progress: Callable[[int], None],
) -> list[tuple[float, int]]:
    """``(sum of nats, tokens)`` per item, in the order of ``items``. Raises ``Stopped``, ``OutOfMemoryError``.

    ``batch_size`` items at once, or fewer where memory does not suffice. A reference without any prompt before it loses its first
    token: nothing predicts it.
    """
    found: list[tuple[float, int]] = [(0.0, 0)] * len(items)
    order = sorted(range(len(items)), key=lambda index: len(items[index].prompt) + len(items[index].reference))
    size = BatchSize(batch_size, _HINT)
    with torch.inference_mode():
        for batch in _batches(order, items, batch_size, _LOGITS // model.get_input_embeddings().num_embeddings):
            raise_if_stopped(stop)
            for part, values in size.parts(batch, lambda part: _batch_nats(model, [items[index] for index in part])):
                for index, value in zip(part, values, strict=True):
                    found[index] = value
                progress(len(part))
    return found


def _batches(order: list[int], items: Sequence[TokenizedItem], most: int, tokens: int) -> Iterator[list[int]]:
    """Cut ``order`` (shortest first) into batches of at most ``most`` items and, padding included, ``tokens`` tokens; at least one item."""
    batch: list[int] = []
    for index in order:
        length = len(items[index].prompt) + len(items[index].reference)
        if batch and (len(batch) == most or (len(batch) + 1) * length > tokens):
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch


def _batch_nats(model: PreTrainedModel, batch: list[TokenizedItem]) -> list[tuple[float, int]]:
    longest = max(len(item.prompt) + len(item.reference) for item in batch)
    ids = torch.zeros((len(batch), longest), dtype=torch.long)
    mask = torch.zeros_like(ids)
    counted = torch.zeros((len(batch), longest), dtype=torch.bool)
    for row, item in enumerate(batch):
        length = len(item.prompt) + len(item.reference)
        ids[row, :length] = torch.tensor(item.prompt + item.reference)
        mask[row, :length] = 1
        counted[row, len(item.prompt) : length] = True
    counted[:, 0] = False
    ids, mask, counted = (tensor.to(model.device) for tensor in (ids, mask, counted))
    logits = model(input_ids=ids, attention_mask=mask).logits[:, :-1]
    nats = torch.nn.functional.cross_entropy(logits.float().transpose(1, 2), ids[:, 1:], reduction="none")
    nats = nats.masked_fill(~counted[:, 1:], 0.0)
    return [(float(total), int(tokens)) for total, tokens in zip(nats.double().sum(dim=1), counted.sum(dim=1), strict=True)]
