"""Keys and values of all live sequences: one rectangle per layer, a row per sequence, each row filled from its own start.

Nothing is padded on the left and nothing is copied when a sequence joins: it is computed straight into its row. A decode step writes one
position per row, and the last row moves into the place of one that has ended.
"""

from dataclasses import dataclass
from typing import Any

import torch
from transformers.cache_utils import Cache, CacheLayerMixin

from finetune_inference.server.batching import blocks

GROWTH = 1.5


@dataclass
class Window:
    """Where the current forward pass reads and writes; all layers share it.

    Prefill: ``count`` rows from ``row``, tokens from ``start``. Decode (``positions`` set): one token for each of the first ``count`` rows,
    which attend to the first ``length`` positions.
    """

    row: int = 0
    count: int = 0
    start: int = 0
    length: int = 0
    rows: torch.Tensor | None = None
    positions: torch.Tensor | None = None


@dataclass
class Size:
    """Rows and tokens that the buffers have room for."""

    rows: int = 0
    tokens: int = 0


class SlotLayer(CacheLayerMixin):  # type: ignore[misc]
    """One layer's rectangle, ``(rows, heads, tokens, width)``; it exists from the first token on, in the shape the model gives it."""

    is_sliding = False

    def __init__(self, window: Window, size: Size) -> None:
        super().__init__()
        self._window = window
        self._size = size

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        self.keys, self.values = self._room(key_states), self._room(value_states)
        self.is_initialized = True

    def _room(self, like: torch.Tensor) -> torch.Tensor:
        # Zeros, since what is masked is still multiplied by zero, and not-a-number times zero is not zero.
        return like.new_zeros((self._size.rows, like.shape[1], self._size.tokens, like.shape[3]))

    def grow(self) -> None:
        if self.is_initialized:
            self.keys, self.values = (self._grown(old) for old in (self.keys, self.values))

    def _grown(self, old: torch.Tensor) -> torch.Tensor:
        new = self._room(old)
        new[: old.shape[0], :, : old.shape[2]] = old
        return new

    def update(self, key_states: torch.Tensor, value_states: torch.Tensor, *_: Any, **__: Any) -> tuple[torch.Tensor, torch.Tensor]:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        window = self._window
        if window.positions is not None:
            self.keys[window.rows, :, window.positions] = key_states[:, :, 0]
            self.values[window.rows, :, window.positions] = value_states[:, :, 0]
            return self.keys[: window.count, :, : window.length], self.values[: window.count, :, : window.length]
        rows, end = slice(window.row, window.row + window.count), window.start + key_states.shape[2]
        self.keys[rows, :, window.start : end] = key_states
        self.values[rows, :, window.start : end] = value_states
        if window.start == 0:
            return key_states, value_states
        return self.keys[rows, :, :end], self.values[rows, :, :end]

    def put(self, row: int, keys: torch.Tensor, values: torch.Tensor) -> None:
        """Fill the start of a row with given keys and values, each ``(1, heads, tokens, width)``."""
        if not self.is_initialized:
            self.lazy_initialization(keys, values)
        self.keys[row, :, : keys.shape[2]] = keys[0]
        self.values[row, :, : values.shape[2]] = values[0]

    def move(self, source: int, target: int, tokens: int) -> None:
        for buffer in (self.keys, self.values):
            buffer[target, :, :tokens] = buffer[source, :, :tokens]

    def clear(self, row: int, tokens: int) -> None:
        for buffer in (self.keys, self.values):
            buffer[row, :, :tokens].zero_()

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self._window.start + query_length, 0

    def get_seq_length(self) -> int:
        return self._window.start

    def get_max_length(self) -> int:
        return -1


class SlotCache(Cache):  # type: ignore[misc]
    """The rectangles of all layers, as the model's ``past_key_values``."""

    def __init__(self, layers: int) -> None:
        self.window = Window()
        self._size = Size()
        self._slots = [SlotLayer(self.window, self._size) for _ in range(layers)]
        super().__init__(layers=list(self._slots))

    @property
    def bytes(self) -> int:
        return sum(layer.keys.nbytes + layer.values.nbytes for layer in self._slots if layer.is_initialized)

    def ensure(self, rows: int, tokens: int, most_rows: int, most_tokens: int) -> None:
        """Make room for so many rows of so many tokens; buffers grow by half at least, up to the given most."""
        if rows <= self._size.rows and tokens <= self._size.tokens:
            return
        if rows > self._size.rows:
            self._size.rows = min(most_rows, max(rows, int(self._size.rows * GROWTH)))
        if tokens > self._size.tokens:
            self._size.tokens = blocks(min(most_tokens, max(tokens, int(self._size.tokens * GROWTH))))
        for layer in self._slots:
            layer.grow()

    def prefill(self, row: int, count: int, start: int) -> None:
        """The next pass computes ``count`` rows from ``row``, their tokens from ``start``."""
        self._point(row=row, count=count, start=start)

    def decode(self, positions: torch.Tensor, rows: torch.Tensor, length: int) -> None:
        """The next pass computes one token per row, at these positions, attending to ``length`` positions at most."""
        self._point(count=len(positions), length=length, rows=rows, positions=positions)

    def put(self, row: int, preamble: list[tuple[torch.Tensor, torch.Tensor]]) -> None:
        """Begin a row with given keys and values, layer by layer."""
        for layer, (keys, values) in zip(self._slots, preamble, strict=True):
            layer.put(row, keys, values)

    def release(self, row: int, used: int, last: int, last_used: int) -> None:
        """End a row: the ``last`` one takes its place, and what both leave is wiped for whoever comes next.

        ``used`` and ``last_used`` are the positions ever written, padding included.
        """
        for layer in self._slots:
            if not layer.is_initialized:
                continue
            layer.clear(row, used)
            if row != last:
                layer.move(last, row, last_used)
                layer.clear(last, last_used)

    def drop(self) -> None:
        """Forget everything, after a pass that failed half-way."""
        self._size.rows = self._size.tokens = 0
        for layer in self._slots:
            layer.keys = layer.values = None
            layer.is_initialized = False

    def _point(self, **values: Any) -> None:
        window = self.window
        window.row, window.count, window.start, window.length = (values.get(name, 0) for name in ("row", "count", "start", "length"))
        window.rows, window.positions = values.get("rows"), values.get("positions")
