"""What the picture of rollouts shows: rates over a window, from counters that may begin anew."""

import math
from pathlib import Path
from typing import Any

import pytest

from examples import rollouts

A, B = "m--aaaaaaaaaaaa", "m--bbbbbbbbbbbb"


def sample(at: float, weight: int = 0, shadow: int = 0, **counts: dict[str, float]) -> dict[str, Any]:
    by_arm = {f"{A if name == 'a' else B}/live": found for name, found in counts.items()}
    return {"at": at, "shares": {A: 100 - weight, B: weight} if weight else {A: 100}, "shadow": shadow, "counts": by_arm}


def test_versions_come_in_the_order_of_their_appearance() -> None:
    assert rollouts.versions([sample(0), sample(1, weight=5), sample(2, a={})]) == [A, B]


def test_a_version_without_a_part_in_the_route_has_no_share() -> None:
    (_, before), (_, during) = rollouts.shares([sample(0), sample(1, weight=5)], B)
    assert math.isnan(before)
    assert during == 5


def test_faults_are_those_of_the_window() -> None:
    samples = [sample(at, b={"ok": at, "failed": 0, "invalid": at / 2}) for at in range(0, 40, 2)]
    assert rollouts.faults(samples, B)[-1] == (38, 50.0)
    assert rollouts.faults(samples, A) == []


def test_what_began_long_before_the_window_does_not_count() -> None:
    samples = [sample(0, b={"ok": 0.0, "failed": 0.0}), sample(5, b={"ok": 10.0, "failed": 10.0})]
    samples += [sample(at, b={"ok": 10.0 + at, "failed": 10.0}) for at in range(20, 40, 2)]
    assert rollouts.faults(samples, B)[0] == (5, 50.0)
    assert rollouts.faults(samples, B)[-1] == (38, 0.0)


def test_counters_that_begin_anew_give_no_rate() -> None:
    samples = [sample(0, b={"first_seconds": 5.0, "first_count": 50.0}), sample(2, b={"first_seconds": 0.1, "first_count": 1.0})]
    assert rollouts.first_tokens(samples, B) == []
    samples.append(sample(4, b={"first_seconds": 0.3, "first_count": 3.0}))
    assert rollouts.first_tokens(samples[1:], B) == [(4, pytest.approx(100.0))]


def test_a_picture_is_written(tmp_path: Path) -> None:
    counts = [{"ok": float(at), "failed": 1.0, "invalid": 0.0, "first_seconds": at / 10, "first_count": float(at)} for at in range(20)]
    samples = [sample(at, weight=5 if at > 10 else 0, shadow=20 if at < 5 else 0, a=found, b=found) for at, found in enumerate(counts)]
    rollouts.draw(samples, "a title", tmp_path / "new" / "picture.png")
    assert (tmp_path / "new" / "picture.png").read_bytes().startswith(b"\x89PNG")


def test_nothing_is_drawn_from_a_single_moment(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="two samples"):
        rollouts.draw([sample(0)], "a title", tmp_path / "picture.png")
