import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from examples.picture import draw, progress_of
from examples.show import examples_table, main, metrics_table

EVALUATION: dict[str, Any] = {
    "verdict": "Pass",
    "items": 40,
    "metrics": [
        {"name": "SchemaCompliance", "base": "0", "tuned": "0.975", "delta": "0.975", "low": "0.84", "high": "0.99", "verdict": "Pass"},
        {"name": "Perplexity", "base": "12.5", "tuned": "1.25", "delta": "-11.25", "low": "-13", "high": "-9.5", "verdict": "NotGated"},
    ],
}
REFERENCE = '{"category": "billing"}'
EXAMPLES = [
    {
        "row": 1,
        "prompt": [{"role": "user", "content": "Charged twice [a]"}],
        "reference": REFERENCE,
        "base": "Sorry!",
        "tuned": '{"category":"billing"}',
    },
    {"row": 2, "prompt": "Late parcel", "reference": REFERENCE, "base": "b" * 500, "tuned": '{"category": "shipping"}'},
]


def rendered(table: object) -> str:
    console = Console(width=120, record=True, file=Path("/dev/null").open("w"))  # noqa: SIM115
    console.print(table)
    return console.export_text()


def test_metrics_show_both_values_the_interval_and_the_verdict_of_the_gate() -> None:
    text = rendered(metrics_table(EVALUATION))
    assert "same 40 held-out items" in text
    line = next(line for line in text.splitlines() if "SchemaCompliance" in line)
    assert all(part in line for part in ("0.0 %", "97.5 %", "[+84.0 % … +99.0 %]", "Pass"))
    assert "-11.250" in text
    assert "NotGated" not in text


def test_examples_show_what_was_wanted_only_where_it_was_missed() -> None:
    text = rendered(examples_table(EXAMPLES))
    assert "Charged twice [a]" in text
    assert text.count("wanted") == 1
    assert "b" * 161 not in text.replace("\n", "")


def test_the_command_reads_an_artifacts_meta_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "evaluation.json").write_text(json.dumps({"summary": EVALUATION}))
    (tmp_path / "examples.json").write_text(json.dumps(EXAMPLES))
    monkeypatch.setattr("sys.argv", ["show", str(tmp_path)])
    monkeypatch.setenv("COLUMNS", "120")
    main()
    assert "SchemaCompliance" in capsys.readouterr().out


def test_the_picture_is_drawn_from_a_pods_log(tmp_path: Path) -> None:
    log = tmp_path / "events.jsonl"
    steps = [{"event": "progress", "step": step, "loss": 1 / step} for step in range(1, 9)]
    log.write_text("not json\n" + "".join(json.dumps(event) + "\n" for event in [{"event": "start"}, *steps]))
    assert [event["step"] for event in progress_of(log)] == list(range(1, 9))
    draw(progress_of(log), EVALUATION, "a run", tmp_path / "images" / "run.png")
    assert (tmp_path / "images" / "run.png").read_bytes().startswith(b"\x89PNG")
