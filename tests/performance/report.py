"""How every benchmark reports: a table, the flags it ran with, the machine, and limits that are ratios or counts, never absolute seconds.

A benchmark module has ``run(full: bool) -> Section``; ``python -m tests.performance`` runs them all and prints Markdown.
"""

import os
import platform
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Limit:
    """A bound that must hold: a ratio or a count in CI, seconds only where a person runs the full benchmark."""

    name: str
    value: float
    bound: float
    at_most: bool = True

    @property
    def holds(self) -> bool:
        return self.value <= self.bound if self.at_most else self.value >= self.bound

    def __str__(self) -> str:
        sign = "≤" if self.at_most else "≥"
        return f"{self.name}: {self.value:.3g} (must be {sign} {self.bound:g}) {'holds' if self.holds else 'FAILS'}"


@dataclass(frozen=True)
class Section:
    """One benchmark's outcome."""

    title: str
    flags: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    limits: tuple[Limit, ...] = field(default=())

    def to_markdown(self) -> str:
        lines = [f"## {self.title}", "", self.flags, "", "| " + " | ".join(self.columns) + " |", "|" + "---|" * len(self.columns)]
        lines += ["| " + " | ".join(row) + " |" for row in self.rows]
        lines += ["", *(f"- {limit}" for limit in self.limits), ""]
        return "\n".join(lines)


def hardware() -> str:
    """The machine in one line."""
    model = next(
        (line.split(":", 1)[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")), "?"
    )
    memory = int(Path("/proc/meminfo").read_text().split()[1]) // (1 << 20)
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    return f"{os.cpu_count()} cores of {model}, {memory} GiB, Linux {platform.release()}, Python {platform.python_version()}, load {load}"
