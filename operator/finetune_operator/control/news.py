"""Work that is done when something has changed: once for many changes, and again where it could not be done."""

import asyncio
from collections.abc import AsyncIterator, Callable


class News:
    """Told by whoever notices, synchronously; awaited by the one who acts."""

    def __init__(self) -> None:
        self._told = asyncio.Event()
        self.again: float | None = None
        """Seconds after which there is something to do even without news; set by the one who acts, each time."""

    def tell(self) -> None:
        self._told.set()

    async def each(self, coalesce: Callable[[], float]) -> AsyncIterator[None]:
        """For ever: at once, and then after each change and ``coalesce()`` seconds in which others may join it."""
        self.tell()
        while True:
            try:
                await asyncio.wait_for(self._told.wait(), self.again)
            except TimeoutError:
                pass
            else:
                await asyncio.sleep(coalesce())
            self._told.clear()
            yield
