"""Events are JSON for whoever reads them, whatever a training came to."""

import json
import math
from pathlib import Path
from typing import NoReturn

import pytest

from finetune_trainer.pod.events import EventLog, Value


def strict(text: str) -> dict[str, object]:
    """JSON as the standard has it, without Python's own words for what is no number."""

    def refuse(constant: str) -> NoReturn:
        raise ValueError(constant)

    return dict(json.loads(text, parse_constant=refuse))


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (math.nan, None),
        (-math.inf, None),
        (0.25, 0.25),
        ({"loss": math.inf, "step": 3}, {"loss": None, "step": 3}),
        ([1.0, math.nan], [1.0, None]),
        ("nan", "nan"),
    ],
)
def test_a_number_that_is_none_is_told_as_null(value: Value, told: object, tmp_path: Path) -> None:
    with (tmp_path / "events").open("wb") as file:
        EventLog(1, file.fileno()).emit("progress", value=value)
    assert strict((tmp_path / "events").read_text())["value"] == told
