"""A picture of one training run: the loss over the steps, and what the answers were worth before and after.

kubectl logs -n support job/<run>-train-1 > events.jsonl
python -m examples.picture events.jsonl <folder of an artifact>.meta training-run.png
"""

# ruff: noqa: PLC0415 - the drawing library is chosen without a display before it is imported

import argparse
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

_INK, _BASE, _TUNED = "#24292f", "#9aa4b2", "#2f6fde"


def draw(progress: Iterable[Mapping[str, Any]], evaluation: Mapping[str, Any], title: str, path: Path) -> None:
    """Write a PNG from ``progress`` events (``step``, ``loss``) and an evaluation summary."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt
    from matplotlib.ticker import MaxNLocator

    points = [(event["step"], event["loss"]) for event in progress]
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6), width_ratios=(3, 2), layout="constrained")
    left.plot([step for step, _ in points], [loss for _, loss in points], color=_TUNED, linewidth=1.8, marker=".", markersize=5)
    left.set(xlabel="step", ylabel="training loss", ylim=(0, None), title="Training")
    left.xaxis.set_major_locator(MaxNLocator(integer=True))
    shares = [metric for metric in evaluation["metrics"] if metric["name"] != "Perplexity"]
    for offset, side, color in ((-0.2, "base", _BASE), (0.2, "tuned", _TUNED)):
        values = [100 * float(metric[side]) for metric in shares]
        bars = right.barh([row + offset for row in range(len(shares))], values, height=0.38, color=color, label=side)
        right.bar_label(bars, labels=[f"{value:.0f} %" for value in values], padding=3, fontsize=8, color=_INK)
    right.set(
        xlim=(0, 118), xlabel=f"% of {evaluation['items']} held-out items", title="Answers before and after", yticks=range(len(shares))
    )
    right.set_yticklabels([metric["name"] for metric in shares])
    right.invert_yaxis()
    figure.legend(*right.get_legend_handles_labels(), loc="upper right", frameon=False, fontsize=8, ncols=2)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
        axes.title.set_color(_INK)
    figure.suptitle(title, color=_INK, fontsize=12)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130, metadata={"Software": None})
    plt.close(figure)


def progress_of(log: Path) -> list[dict[str, Any]]:
    """The progress events of a train pod's log; whatever else stands there is skipped."""
    lines = log.read_text(encoding="utf-8").splitlines()
    events: list[dict[str, Any]] = [json.loads(line) for line in lines if line.startswith("{")]
    return [event for event in events if event.get("event") == "progress"]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m examples.picture", description="Draw a training run.")
    parser.add_argument("log", type=Path, help="the train pod's log: one JSON event per line")
    parser.add_argument("meta", type=Path, help="the folder <digest>.meta beside the artifact")
    parser.add_argument("png", type=Path, help="where the picture goes")
    parser.add_argument("--title", default="SmolLM2-135M-Instruct learns to route tickets")
    options = parser.parse_args()
    summary = json.loads((options.meta / "evaluation.json").read_text(encoding="utf-8"))["summary"]
    draw(progress_of(options.log), summary, options.title, options.png)


if __name__ == "__main__":
    main()
