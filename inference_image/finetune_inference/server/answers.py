"""An answer as the event loop sees it: pieces that come in from the engine, in the order in which they were made."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable

from finetune_inference.server.sequence import Finish, Piece, Sequence, TokenFacts


class Answer:
    """Fed by ``add`` in the event loop; ``cancel`` asks the engine to end it."""

    def __init__(self, cancel: Callable[[Sequence], None], closed: Callable[[], None]) -> None:
        self._pieces: deque[Piece] = deque()
        self._arrived = asyncio.Event()
        self._cancel = cancel
        self._closed = closed
        self.sequence: Sequence | None = None

    def add(self, piece: Piece) -> None:
        self._pieces.append(piece)
        self._arrived.set()
        if piece.finish is not None:
            self._closed()

    def cancel(self) -> None:
        if self.sequence is not None:
            self._cancel(self.sequence)

    async def pieces(self) -> AsyncIterator[Piece]:
        """All pieces up to the last; a slow reader gets those that came meanwhile as one."""
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            piece = _joined(self._pieces)
            yield piece
            if piece.finish is not None:
                return


def _joined(pieces: deque[Piece]) -> Piece:
    if len(pieces) == 1:
        return pieces.popleft()
    text: list[str] = []
    facts: list[TokenFacts] = []
    tokens = 0
    finish: Finish | None = None
    error: str | None = None
    while pieces:
        piece = pieces.popleft()
        text.append(piece.text)
        facts += piece.facts
        tokens += piece.tokens
        finish, error = piece.finish, piece.error
    return Piece("".join(text), tokens, tuple(facts), finish, error)
