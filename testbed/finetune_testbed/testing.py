"""Testbeds for tests: a context manager, and the names under which sessions keep theirs apart."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from finetune_testbed import lifecycle, state
from finetune_testbed.bed import Testbed, Tier

_OF_A_PROCESS = re.compile(r"test-[a-z0-9]+-(\d+)")


@contextmanager
def running(tier: Tier, name: str, *, keep: bool = False, progress: Callable[[str], None] = print, **settings: object) -> Iterator[Testbed]:
    """A testbed for the length of a block; `settings` are fields of `bed.Settings`."""
    try:
        yield lifecycle.up(name, tier, progress, settings)
    finally:
        if not keep:
            lifecycle.down(name, progress)


def session_name(tier: Tier, *, keep: bool) -> str:
    """A name of this process's own, or the one that kept testbeds share."""
    return f"keep-{tier.lower()}" if keep else own_name(tier.lower())


def own_name(purpose: str) -> str:
    """Of a testbed that goes with this process: `sweep` knows it by its name. `purpose` is one word of small letters and digits."""
    return f"test-{purpose}-{os.getpid()}"


def sweep(progress: Callable[[str], None] = print) -> list[str]:
    """Take down what processes left that were killed; the names of those testbeds. None of them is there when this returns."""
    abandoned = [
        name for name in state.names() if (match := _OF_A_PROCESS.fullmatch(name)) and not Path(f"/proc/{match.group(1)}").exists()
    ]
    for name in abandoned:
        lifecycle.down(name, progress)
    return abandoned
