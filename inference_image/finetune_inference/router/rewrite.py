"""Gives the alias back in replies, by bytes: parsing every chunk would cost more than relaying it.

The name is replaced only as the value of a key ``model``. Inside a JSON string every quote is escaped, so text that quotes the very same
characters is never touched. JSON within an event has no raw line break, so an event's line is complete or is held back until it is.
"""

from typing import Final

HELD_LIMIT: Final = 1 << 18
"""Bytes of an unfinished line that are held back at most."""


class AliasRewriter:
    """For one reply, from its first chunk to its last."""

    def __init__(self, version: str, alias: str) -> None:
        self._pairs = tuple((f'"model":{gap}"{version}"'.encode(), f'"model":{gap}"{alias}"'.encode()) for gap in ("", " "))
        self._overlap = max(len(name) for name, _ in self._pairs) - 1
        self._held = b""

    def feed(self, chunk: bytes) -> bytes:
        """What can be sent of all that has come: whole lines, usually the chunk itself."""
        if self._held:
            chunk, self._held = self._held + chunk, b""
        if not chunk.endswith(b"\n"):
            cut = chunk.rfind(b"\n") + 1
            if len(chunk) - cut > HELD_LIMIT:
                return self._release(chunk)
            chunk, self._held = chunk[:cut], chunk[cut:]
        return self._replace(chunk)

    def rest(self) -> bytes:
        """What was held back, at a clean end."""
        held, self._held = self._held, b""
        return self._replace(held)

    def _release(self, chunk: bytes) -> bytes:
        replaced = self._replace(chunk)
        replaced, self._held = replaced[: -self._overlap], replaced[-self._overlap :]
        return replaced

    def _replace(self, text: bytes) -> bytes:
        for name, alias in self._pairs:
            text = text.replace(name, alias)
        return text
