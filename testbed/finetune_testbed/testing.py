"""Testbeds for tests: a context manager, and the names under which sessions keep theirs apart."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from finetune_testbed import lifecycle, state
from finetune_testbed.bed import Testbed, Tier

_SESSION_NAME = re.compile(r"test-t[123]-(\d+)")


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
    return f"keep-{tier.lower()}" if keep else f"test-{tier.lower()}-{os.getpid()}"


def sweep(progress: Callable[[str], None] = print) -> list[str]:
    """Take down what sessions left that were killed; the names of those testbeds."""
    abandoned = [
        name for name in state.names() if (match := _SESSION_NAME.fullmatch(name)) and not Path(f"/proc/{match.group(1)}").exists()
    ]
    for name in abandoned:
        lifecycle.down(name, progress)
    return abandoned
