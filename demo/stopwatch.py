"""Where the time went: each part of the demo is timed, and the last thing printed is the bill."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Lock

from rich.console import Console
from rich.markup import escape
from rich.table import Table


@dataclass
class Stopwatch:
    """Wall time per named part; parts may overlap when they run side by side."""

    console: Console
    started: float = field(default_factory=time.monotonic)
    parts: list[tuple[str, float]] = field(default_factory=list)
    _lock: Lock = field(default_factory=Lock)

    def say(self, text: str) -> None:
        """One progress line, stamped with the time since the start; square brackets in it are text, not style."""
        self._print(escape(text))

    def _print(self, markup: str) -> None:
        elapsed = int(time.monotonic() - self.started)
        with self._lock:
            self.console.print(f"[dim]{elapsed // 60:02d}:{elapsed % 60:02d}[/dim] {markup}", highlight=False, soft_wrap=True)

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Time a part and say when it begins and ends."""
        begun = time.monotonic()
        self._print(f"[bold]{escape(name)}[/bold] …")
        yield
        seconds = time.monotonic() - begun
        with self._lock:
            self.parts.append((name, seconds))
        self._print(f"[green]✓[/green] {escape(name)} ({seconds:.0f} s)")

    def print_bill(self) -> None:
        table = Table(title="Where the time went", title_justify="left", box=None, pad_edge=False)
        table.add_column("part")
        table.add_column("seconds", justify="right")
        for name, seconds in self.parts:
            table.add_row(escape(name), f"{seconds:.0f}")
        table.add_row("[bold]all of it (parts overlap)[/bold]", f"[bold]{time.monotonic() - self.started:.0f}[/bold]")
        self.console.print(table)
