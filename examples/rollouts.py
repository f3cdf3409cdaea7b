"""A picture of rollouts: who answered which share of the callers, what was wrong with the answers, and how fast they began.

make demo
python -m examples.rollouts out/demo/timeline.json rollouts.png
"""

# ruff: noqa: PLC0415 - the drawing library is chosen without a display before it is imported

import argparse
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

_INK = "#24292f"
_COLORS = ("#2f6fde", "#2da44e", "#d1242f", "#8250df", "#bf8700")
_HEADINGS = (
    "Weights; grey: the canary gets copies of requests, and nobody sees its answers",
    "Failed, or answered with something that does not fit the schema",
    "Mean time to the first token",
)
WINDOW_SECONDS = 10.0
"""Rates are over so long, ending at the moment they are drawn at."""

Samples = Sequence[Mapping[str, Any]]
Curve = list[tuple[float, float]]


def versions(samples: Samples) -> list[str]:
    """In the order in which they appear."""
    seen: dict[str, None] = {}
    for sample in samples:
        seen.update(dict.fromkeys(key.partition("/")[0] for key in (*sample["shares"], *sample["counts"])))
    return list(seen)


def shares(samples: Samples, version: str) -> Curve:
    """Percent of the callers; not a number while the version has no part in the route."""
    return [(sample["at"], float(sample["shares"].get(version, math.nan))) for sample in samples]


def faults(samples: Samples, version: str) -> Curve:
    """Percent of the requests that failed or whose answer did not fit its schema; of users' requests and of copies of them."""
    return list(_rates(samples, version, ("failed", "invalid"), ("ok", "failed"), scale=100))


def first_tokens(samples: Samples, version: str) -> Curve:
    """Mean milliseconds to the first token."""
    return list(_rates(samples, version, ("first_seconds",), ("first_count",), scale=1000))


def _rates(samples: Samples, version: str, above: Sequence[str], below: Sequence[str], *, scale: float) -> Iterator[tuple[float, float]]:
    begin = 0
    for end in range(1, len(samples)):
        while samples[end]["at"] - samples[begin]["at"] > WINDOW_SECONDS and begin < end - 1:
            begin += 1
        amount, of = (_total(samples[end], version, names) - _total(samples[begin], version, names) for names in (above, below))
        if of > 0 and amount >= 0:  # a router that began anew counts from zero
            yield samples[end]["at"], min(amount / of, 1.0 if scale == 100 else amount / of) * scale


def _total(sample: Mapping[str, Any], version: str, names: Sequence[str]) -> float:
    found = (sample["counts"].get(f"{version}/{track}", {}) for track in ("live", "shadow"))
    return sum(float(counts.get(name, 0)) for counts in found for name in names)


def draw(samples: Samples, title: str, path: Path) -> None:
    """Write a PNG; raises `ValueError` when there is nothing to draw."""
    if len(samples) < 2:
        raise ValueError("a picture needs two samples at least")
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    start = samples[0]["at"]
    figure, (top, middle, bottom) = plt.subplots(3, 1, figsize=(10, 6.4), sharex=True, height_ratios=(3, 2, 2), layout="constrained")
    for number, version in enumerate(versions(samples)):
        color = _COLORS[number % len(_COLORS)]
        _line(top, start, shares(samples, version), color, version.rpartition("--")[2], drawstyle="steps-post")
        _line(middle, start, faults(samples, version), color)
        _line(bottom, start, first_tokens(samples, version), color)
    for begin, end in _spans(samples):
        top.axvspan(begin - start, end - start, color="#eaeef2", zorder=0)
    top.set(ylabel="% of callers", ylim=(-3, 103))
    middle.set(ylabel="% of requests", ylim=(-3, 103))
    bottom.set(ylabel="ms", ylim=(0, None), xlabel="seconds")
    figure.legend(*top.get_legend_handles_labels(), loc="upper right", frameon=False, fontsize=8, ncols=4)
    for axes, heading in zip((top, middle, bottom), _HEADINGS, strict=True):
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_title(heading, color=_INK, fontsize=9, loc="left")
    figure.suptitle(title, color=_INK, fontsize=12, x=0.01, ha="left")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130, metadata={"Software": None})
    plt.close(figure)


def _line(axes: Any, start: float, curve: Curve, color: str, label: str | None = None, **style: Any) -> None:
    axes.plot([at - start for at, _ in curve], [value for _, value in curve], color=color, linewidth=1.8, label=label, **style)


def _spans(samples: Samples) -> Iterator[tuple[float, float]]:
    """When requests were copied."""
    begin: float | None = None
    for sample in samples:
        if sample["shadow"] and begin is None:
            begin = sample["at"]
        elif not sample["shadow"] and begin is not None:
            yield begin, sample["at"]
            begin = None
    if begin is not None:
        yield begin, samples[-1]["at"]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m examples.rollouts", description="Draw rollouts.")
    parser.add_argument("timeline", type=Path, help="what `make demo` wrote")
    parser.add_argument("png", type=Path, help="where the picture goes")
    parser.add_argument("--title", default="One adapter is rolled out, another is taken back")
    options = parser.parse_args()
    draw(json.loads(options.timeline.read_text(encoding="utf-8")), options.title, options.png)


if __name__ == "__main__":
    main()
