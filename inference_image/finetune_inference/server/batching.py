"""Who may join the batch: arithmetic on lengths, so that memory for keys and values stays within its bound whatever clients ask for."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

BLOCK = 64
"""Keys and values grow in blocks of so many tokens."""


@dataclass(frozen=True)
class Limits:
    """``total_tokens`` bounds rows times the longest row: the buffers are rectangles.

    ``prefill_tokens`` bounds one prefill, and with it how long the others wait for their next token.
    """

    sequences: int
    model_length: int
    total_tokens: int
    prefill_tokens: int

    def admits(self, reserved: Iterable[int], newcomer: int) -> bool:
        """May a sequence of up to ``newcomer`` tokens join those that may become ``reserved`` long? An empty batch takes any."""
        lengths = list(reserved)
        if not lengths:
            return True
        rectangle = (len(lengths) + 1) * blocks(max(*lengths, newcomer))
        return len(lengths) < self.sequences and rectangle <= self.total_tokens


def blocks(tokens: int) -> int:
    """Tokens rounded up to whole blocks."""
    return -(-tokens // BLOCK) * BLOCK


def prefill_group(prompts: Sequence[int], budget: int) -> int:
    """How many of the waiting prompts, in their order, are computed together: padded to the longest they stay within ``budget`` tokens.

    0 means that the first alone is longer, and is computed in pieces.
    """
    longest = taken = 0
    for length in prompts:
        longest = max(longest, length)
        if longest * (taken + 1) > budget:
            break
        taken += 1
    return taken
