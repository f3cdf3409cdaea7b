"""From tokens to the text a client sees: whole characters only, and nothing of a stop string."""

from collections.abc import Sequence

from tokenizers import Tokenizer
from tokenizers.decoders import DecodeStream

CONTEXT = 8
"""Tokens of the prompt that the decoder sees first: some tokenizers spell a token differently at the start of a text."""


class StopStrings:
    """Lets text through up to the first stop string; what may still become one waits."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = tuple(stop for stop in stops if stop)
        self._held = ""

    def feed(self, text: str) -> tuple[str, bool]:
        """Text that may be shown, and whether a stop string is complete."""
        if not self._stops:
            return text, False
        seen = self._held + text
        found = [at for at in (seen.find(stop) for stop in self._stops) if at >= 0]
        if found:
            self._held = ""
            return seen[: min(found)], True
        keep = max(_overlap(seen, stop) for stop in self._stops)
        shown = seen[: len(seen) - keep]
        self._held = seen[len(shown) :]
        return shown, False

    def flush(self) -> str:
        """What was held back, once it is sure that no stop string follows."""
        held, self._held = self._held, ""
        return held


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of ``text`` that begins ``stop``."""
    for length in range(min(len(stop) - 1, len(text)), 0, -1):
        if text.endswith(stop[:length]):
            return length
    return 0


class Transcript:
    """The text of one answer as its tokens come in."""

    def __init__(self, tokenizer: Tokenizer, prompt: Sequence[int], stops: Sequence[str], *, skip_special: bool = True) -> None:
        self._tokenizer = tokenizer
        self._stream = DecodeStream(ids=list(prompt[-CONTEXT:]), skip_special_tokens=skip_special)
        self._stops = StopStrings(stops)

    def add(self, token: int) -> tuple[str, bool]:
        """New text, and whether the answer ends here because a stop string is complete."""
        text = self._stream.step(self._tokenizer, token)
        return ("", False) if not text else self._stops.feed(text)

    def rest(self) -> str:
        return self._stops.flush()
