"""A manifest becomes a run spec whose paths are folders of this machine, and nothing else changes."""

from pathlib import Path
from typing import Any

import yaml

from examples.laptop import run_spec

ROOT = Path(__file__).parents[3]
MANIFEST: dict[str, Any] = yaml.safe_load((ROOT / "examples/ticket-routing/finetunejob-tiny.yaml").read_text())


def test_claims_are_folders(tmp_path: Path) -> None:
    spec = run_spec(MANIFEST, tmp_path, tmp_path / "schema.json")
    assert spec.base_model.path == str(tmp_path / "models" / "tiny-chat")
    assert spec.dataset.path == str(tmp_path / "datasets" / "tickets" / "train.jsonl")
    assert spec.evaluation.source is not None
    assert spec.evaluation.source.path == str(tmp_path / "datasets" / "tickets" / "held-out.jsonl")
    assert spec.artifact.path == str(tmp_path / "adapters" / "ticket-router")
    assert spec.task.output_schema_path == str(tmp_path / "schema.json")


def test_uris_stay_those_of_the_cluster(tmp_path: Path) -> None:
    spec = run_spec(MANIFEST, tmp_path, None)
    assert (spec.base_model.uri, spec.artifact.uri) == ("pvc://models/tiny-chat", "pvc://adapters/ticket-router")
    assert "/mnt/" not in spec.to_json()


def test_equal_manifests_have_equal_run_keys(tmp_path: Path) -> None:
    changed = {**MANIFEST, "spec": {**MANIFEST["spec"], "rerun": "again"}}
    keys = [run_spec(manifest, tmp_path, None).run.key for manifest in (MANIFEST, MANIFEST, changed)]
    assert keys[0] == keys[1] != keys[2]
