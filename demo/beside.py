"""Work that goes on beside an act and ends with it."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager


@contextmanager
def beside(work: Callable[[threading.Event], None], name: str) -> Iterator[None]:
    """``work`` on a thread of its own; at the end of the block its event is set, and it is waited for. What it raised is raised then."""
    end = threading.Event()
    with ThreadPoolExecutor(1, name) as pool:
        done = pool.submit(work, end)
        try:
            yield
        finally:
            end.set()
    done.result()
