"""How many items go through a model at once: as many as asked for, and fewer once memory has shown that it takes no more.

What an item is answered does not depend on its company, so a smaller batch costs time and nothing else.
"""

import gc
from collections.abc import Callable, Iterator
from typing import TypeVar

import torch

from finetune_trainer.pod.errors import OutOfMemoryError
from finetune_trainer.pod.termination import ran_out_of_memory

Read = TypeVar("Read")


class BatchSize:
    """``items`` at once; ``hint`` says what to change when memory does not suffice for a single one."""

    def __init__(self, items: int, hint: str) -> None:
        self.items = items
        self._hint = hint

    def parts(self, batch: list[int], read: Callable[[list[int]], list[Read]]) -> Iterator[tuple[list[int], list[Read]]]:
        """Read ``batch`` in parts that fit; yields each part with what was read. Raises ``OutOfMemoryError`` when one item is too much."""
        waiting = list(batch)
        while waiting:
            part = waiting[: self.items]
            found = self._read(part, read)
            if found is not None:
                del waiting[: len(part)]
                yield part, found

    def _read(self, part: list[int], read: Callable[[list[int]], list[Read]]) -> list[Read] | None:
        """None when memory did not suffice: half as many are then to be tried, now and in all batches that follow."""
        try:
            return read(part)
        except (RuntimeError, MemoryError) as error:
            if not ran_out_of_memory(error):
                raise
            if len(part) == 1:
                raise OutOfMemoryError(
                    "OutOfMemory", "memory did not suffice to evaluate the held-out items, not even one at a time", self._hint
                ) from error
        self.items = len(part) // 2
        gc.collect()  # behind the except clause: until there, the frames of the error hold the tensors that were too many
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        return None
