"""Forward passes: prompts into their rows, and one token for every live row."""

from collections.abc import Sequence as Listing
from typing import Any

import torch

from finetune_inference.server.batching import Limits
from finetune_inference.server.kvcache import SlotCache
from finetune_inference.server.rows import AdaptedModel
from finetune_inference.server.sequence import Preamble, Sequence


class Runner:
    """The model, its cache and the row plan of its adapters. Sequences are given in the order of their rows."""

    def __init__(self, adapted: AdaptedModel, layers: int, limits: Limits) -> None:
        self._adapted = adapted
        self._model: Any = adapted.model
        self._limits = limits
        self._device: torch.device = self._model.device
        self._dtype: torch.dtype = self._model.dtype
        self.cache = SlotCache(layers)

    def prefill_whole(self, newcomers: Listing[Sequence]) -> torch.Tensor:
        """Compute the whole prompts of newcomers in neighbouring rows, padded on the right; returns the logits after each.

        The padding needs no mask: a causal model's tokens never look to their right, and later tokens overwrite it.
        """
        lengths = [len(sequence.prompt) for sequence in newcomers]
        longest = max(lengths)
        ids = torch.tensor([sequence.prompt + [0] * (longest - len(sequence.prompt)) for sequence in newcomers], device=self._device)
        positions = torch.arange(longest, device=self._device)[None].expand(len(newcomers), -1)
        ends = sorted({length - 1 for length in lengths})
        self._assign(newcomers)
        self._make_room(newcomers[0].row + len(newcomers), longest)
        self.cache.prefill(newcomers[0].row, len(newcomers), 0)
        for sequence in newcomers:
            sequence.computed, sequence.extent = len(sequence.prompt), longest
        kept = torch.tensor(ends, device=self._device)
        logits = self._forward(input_ids=ids, position_ids=positions, attention_mask=None, logits_to_keep=kept)
        place = {end: number for number, end in enumerate(ends)}
        wanted = torch.tensor([place[length - 1] for length in lengths], device=self._device)
        return logits[torch.arange(len(lengths), device=self._device), wanted]

    def prefill_piece(self, sequence: Sequence, budget: int) -> torch.Tensor | None:
        """Compute the next ``budget`` positions of one sequence; returns the logits (1, vocabulary) once its last one is computed."""
        start = sequence.computed
        self._make_room(sequence.row + 1, min(sequence.given, max(start, sequence.given - len(sequence.prompt)) + budget))
        if start == 0 and sequence.preamble is not None and sequence.preamble.states:
            self.cache.put(sequence.row, list(sequence.preamble.states))
            start = sequence.preamble.tokens
        end = min(sequence.given, start + budget)
        positions = torch.arange(start, end, device=self._device)
        mask = None
        if start > 0:
            mask = _additive(torch.arange(end, device=self._device)[None] <= positions[:, None], self._dtype)[None, None]
        self._assign([sequence])
        self.cache.prefill(sequence.row, 1, start)
        sequence.computed = sequence.extent = end
        logits = self._forward(**self._inputs(sequence, start, end), position_ids=positions[None], attention_mask=mask, logits_to_keep=1)
        return logits[:, -1] if end == sequence.given else None

    def decode(self, live: Listing[Sequence]) -> torch.Tensor:
        """Compute the last token of every row; returns the logits (rows, vocabulary)."""
        at = [sequence.length - 1 for sequence in live]
        positions = torch.tensor(at, device=self._device)
        ids = torch.tensor([[sequence.last_token] for sequence in live], device=self._device)
        length, mask = max(at) + 1, None
        if min(at) + 1 < length:
            length = min(_aligned(length), self._limits.model_length)
            mask = _additive(torch.arange(length, device=self._device)[None] <= positions[:, None], self._dtype)[:, None, None]
        self._assign(live)
        self._make_room(len(live), length)
        self.cache.decode(positions, torch.arange(len(live), device=self._device), length)
        for sequence in live:
            sequence.extent = max(sequence.extent, sequence.length)
        return self._forward(input_ids=ids, position_ids=positions[:, None], attention_mask=mask, logits_to_keep=1)[:, -1]

    def _make_room(self, rows: int, tokens: int) -> None:
        self.cache.ensure(rows, tokens, self._limits.sequences, self._limits.model_length)

    def _inputs(self, sequence: Sequence, start: int, end: int) -> dict[str, torch.Tensor]:
        """Tokens from ``start`` to ``end``, as ids, or as embeddings where an adapter's own come first."""
        before: Preamble | None = sequence.preamble
        virtual = before.tokens if before else 0
        ids = torch.tensor([sequence.prompt[max(0, start - virtual) : end - virtual]], device=self._device, dtype=torch.long)
        if before is None or before.embeddings is None or start >= virtual:
            return {"input_ids": ids}
        own = before.embeddings[start:end][None]
        return {"inputs_embeds": torch.cat([own, self._model.get_input_embeddings()(ids)], dim=1)}

    def _assign(self, sequences: Listing[Sequence]) -> None:
        self._adapted.plan.assign(tuple(sequence.adapter for sequence in sequences), self._device)

    def _forward(self, **inputs: Any) -> torch.Tensor:
        logits: torch.Tensor = self._model(past_key_values=self.cache, use_cache=True, **inputs).logits
        return logits


def _aligned(tokens: int) -> int:
    """Attention kernels want masks whose length is a multiple of sixteen."""
    return -(-tokens // 16) * 16


def _additive(seen: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """0 where a position is seen and minus infinity where it is not: the form that attention needs at every layer, made once."""
    return torch.zeros(seen.shape, dtype=dtype, device=seen.device).masked_fill_(~seen, float("-inf"))
