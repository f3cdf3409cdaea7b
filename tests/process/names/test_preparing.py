"""Prepare in an image with a model: what its report, its events and its summary say of names, and what they do not."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from finetune_trainer.contract import RunSpec
from finetune_trainer.data.base_model import check_base_model
from finetune_trainer.data.preparation import prepare_data
from finetune_trainer.pod.context import StepContext
from finetune_trainer.pod.errors import ConfigurationError
from tests.unit.trainer.conftest import ticket_rows

NAMES = "Margaret Hollis,Daniel Osei,Thomas Brandt,Fiona Gallagher"


def test_prepare_counts_rows_with_names_and_says_who_looked(
    site_names: Path,
    run_spec: Callable[..., RunSpec],
    step_context: Callable[..., StepContext],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    rows = ticket_rows(40)
    for row, name in zip(rows, NAMES.split(","), strict=False):
        row["messages"][1]["content"] += f" Please ask {name} to call me back."
    spec = run_spec(rows=rows)
    base = check_base_model(spec, Path(str(spec.base_model.path)))
    plain = prepare_data(spec, step_context(spec, root=tmp_path / "plain").workspace, base, step_context(spec).events)
    monkeypatch.setenv("FINETUNE_NAME_MODEL", str(site_names))
    context = step_context(spec)
    data = prepare_data(spec, context.workspace, base, context.events)
    scan, report = data.scan, json.loads(context.workspace.data_scan.read_text())
    assert (scan.profile, plain.scan.profile) == ("IdentifiersAndNames", "Identifiers")
    assert scan.name_model is not None
    assert scan.name_model.digest == report["nameModel"]["digest"]
    assert 3 <= scan.found["person"][0] <= 12
    assert scan.found["person"][1] == 0
    (source,) = report["sources"]
    (people,) = (each for each in source["entities"] if each["entity"] == "person")
    assert len({1, 2, 3, 4} & set(people["firstRows"])) >= 3
    told = context.workspace.data_scan.read_text() + context.workspace.data_report.read_text() + (tmp_path / "events.jsonl").read_text()
    assert not [part for name in NAMES.split(",") for part in name.split() if part in told]
    assert data.summary.digest == plain.summary.digest


def test_a_model_that_cannot_be_used_ends_prepare(
    run_spec: Callable[..., RunSpec], step_context: Callable[..., StepContext], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The image was made to look for names: without a word it does not stop to."""
    monkeypatch.setenv("FINETUNE_NAME_MODEL", str(tmp_path))
    spec = run_spec()
    context = step_context(spec)
    base = check_base_model(spec, Path(str(spec.base_model.path)))
    with pytest.raises(ConfigurationError, match="the model that finds names"):
        prepare_data(spec, context.workspace, base, context.events)
