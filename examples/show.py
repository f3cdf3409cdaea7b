"""What a run achieved, for a terminal: base against tuned per metric, and answers side by side.

python -m examples.show <folder of an artifact>.meta
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

_VERDICT_STYLE = {"Pass": "bold green", "Fail": "bold red", "Inconclusive": "bold yellow"}


def metrics_table(evaluation: Mapping[str, Any]) -> Table:
    """One line per metric, from ``status.evaluation`` or ``evaluation.json``; the line of the gate carries its verdict."""
    table = Table(title=f"Base against tuned on the same {evaluation['items']} held-out items", box=box.ROUNDED, title_justify="left")
    table.add_column("metric", no_wrap=True)
    for heading in ("base", "tuned", "difference, 95 % interval"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("gate", no_wrap=True)
    for metric in evaluation.get("metrics", []):
        show = _number if metric["name"] == "Perplexity" else _percent
        low, high = show(metric["low"]), show(metric["high"])
        verdict = metric.get("verdict", "NotGated")
        table.add_row(
            metric["name"],
            show(metric["base"]),
            show(metric["tuned"]),
            f"{_signed(show(metric['delta']))}  [{_signed(low)} … {_signed(high)}]",
            Text("" if verdict == "NotGated" else verdict, style=_VERDICT_STYLE.get(verdict, "")),
        )
    return table


def examples_table(examples: Sequence[Mapping[str, Any]]) -> Table:
    """Prompt, base answer and tuned answer of each example; a tuned answer that equals the reference is green."""
    table = Table(title="Five held-out tickets, the same question to both models", box=box.ROUNDED, title_justify="left", show_lines=True)
    table.add_column("ticket", ratio=4)
    table.add_column("base model", ratio=3, style="dim")
    table.add_column("tuned model", ratio=3)
    for example in examples:
        tuned = Text(example["tuned"].strip(), style="green" if _same(example["tuned"], example["reference"]) else "yellow")
        if tuned.style == "yellow":
            tuned.append(f"\nwanted {example['reference']}", style="dim")
        table.add_row(Text(_question(example["prompt"])), Text(_shortened(example["base"])), tuned)
    return table


def _question(prompt: str | Sequence[Mapping[str, str]]) -> str:
    return prompt if isinstance(prompt, str) else str(prompt[-1]["content"])


def _same(answer: str, reference: str) -> bool:
    try:
        return bool(json.loads(answer) == json.loads(reference))
    except ValueError:
        return answer.strip() == reference.strip()


def _shortened(answer: str, limit: int = 160) -> str:
    text = " ".join(answer.split())
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _percent(value: str) -> str:
    return f"{100 * float(value):.1f} %"


def _number(value: str) -> str:
    return f"{float(value):.3f}"


def _signed(text: str) -> str:
    return text if text.startswith("-") else "+" + text


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m examples.show", description="Show what a run achieved.")
    parser.add_argument("meta", type=Path, help="the folder <digest>.meta beside an artifact")
    folder = parser.parse_args().meta
    console = Console()
    console.print(metrics_table(json.loads((folder / "evaluation.json").read_text(encoding="utf-8"))["summary"]))
    if (folder / "examples.json").exists():
        console.print(examples_table(json.loads((folder / "examples.json").read_text(encoding="utf-8"))))


if __name__ == "__main__":
    main()
