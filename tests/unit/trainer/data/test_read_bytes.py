"""Digests are of the very bytes that rows came from: what is swapped between hashing and reading is not learned from."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
import zstandard

from finetune_trainer.contract import RunSpec
from finetune_trainer.data import loading, sources
from finetune_trainer.data.loading import load_source
from finetune_trainer.data.sources import ReadBytes, read_records, source_digest
from finetune_trainer.pod.datamanifest import private_copy, seal_data, verified_data
from finetune_trainer.pod.errors import DataError
from finetune_trainer.pod.sealing import file_digest
from finetune_trainer.pod.workspace import Workspace
from tests.unit.trainer.conftest import ticket_rows

ROWS = [{"text": f"row {number}"} for number in range(300)]
LINES = "".join(json.dumps(row) + "\n" for row in ROWS).encode()


def files(folder: Path) -> dict[str, Path]:
    made = {name: folder / name for name in ("a.jsonl", "a.json", "a.csv", "a.txt", "a.jsonl.gz", "a.jsonl.zst", "a.parquet")}
    made["a.jsonl"].write_bytes(LINES)
    made["a.json"].write_text(json.dumps(ROWS) + "\n\n")
    made["a.csv"].write_text("text\n" + "".join(f"{row['text']}\n" for row in ROWS))
    made["a.txt"].write_text("\n\n".join(row["text"] for row in ROWS) + "\n\n\n")
    made["a.jsonl.gz"].write_bytes(gzip.compress(LINES))
    made["a.jsonl.zst"].write_bytes(zstandard.compress(LINES))
    parquet.write_table(pa.Table.from_pylist(ROWS), made["a.parquet"])
    return made


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.csv", "a.txt", "a.jsonl.gz", "a.jsonl.zst", "a.parquet"])
def test_rows_and_digest_come_from_one_reading_whatever_the_container(name: str, tmp_path: Path) -> None:
    path = files(tmp_path)[name]
    read = ReadBytes()
    assert [record.value for record in read_records(path, read=read)] == ROWS
    assert read.digest(path) == file_digest(path) == source_digest(path, "dataset.inline")


def test_a_folder_has_the_digest_that_it_has_without_reading_rows(tmp_path: Path) -> None:
    files(tmp_path)
    read = ReadBytes()
    assert sum(1 for _ in read_records(tmp_path, read=read)) == 7 * len(ROWS)
    assert read.digest(tmp_path) == source_digest(tmp_path, "dataset.inline")


@pytest.fixture
def pinned(run_spec: Callable[..., RunSpec], tmp_path: Path) -> Callable[[Path], RunSpec]:
    def make(path: Path) -> RunSpec:
        return run_spec(dataset={"path": str(path), "uri": "pvc://data/rows.jsonl", "digest": file_digest(path)})

    return make


def written(path: Path, seed: int) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in ticket_rows(40, seed=seed)))
    return path


@pytest.mark.parametrize("how", ["another file by that name", "a link to another file", "written over", "a row appended while it is read"])
def test_what_is_swapped_after_any_hash_is_not_taken_for_what_was_declared(
    how: str, pinned: Callable[[Path], RunSpec], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, other = written(tmp_path / "rows.jsonl", 1), written(tmp_path / "other.jsonl", 2)
    spec = pinned(path)
    real = sources._read_file

    def swapped(file: Path, before: int, read: ReadBytes | None) -> Any:
        if how == "another file by that name":
            other.replace(path)
        elif how == "a link to another file":
            path.unlink()
            path.symlink_to(other)
        elif how == "written over":
            path.write_bytes(other.read_bytes())
        rows = real(file, before, read)
        yield next(rows)
        if how == "a row appended while it is read":
            with path.open("ab") as file_:
                file_.write(b'{"messages": []}\n')
        yield from rows

    monkeypatch.setattr(sources, "_read_file", swapped)
    with pytest.raises(DataError, match="declared is") as refused:
        load_source(spec, spec.dataset, "dataset", None)
    assert refused.value.reason == "DigestMismatch"


def test_rows_of_other_bytes_that_cannot_be_read_are_other_bytes_first(pinned: Callable[[Path], RunSpec], tmp_path: Path) -> None:
    path = written(tmp_path / "rows.jsonl", 1)
    spec = pinned(path)
    path.write_text("no json\n")
    with pytest.raises(DataError) as refused:
        load_source(spec, spec.dataset, "dataset", None)
    assert refused.value.reason == "DigestMismatch"
    assert loading.FIELD_OF["dataset"] in refused.value.message


@pytest.fixture
def sealed(tmp_path: Path) -> tuple[Workspace, str]:
    workspace = Workspace(tmp_path / "work")
    workspace.data.mkdir(parents=True)
    workspace.train_rows.write_bytes(b"rows" * 1000)
    workspace.evaluation_items.write_bytes(b"items" * 1000)
    manifest = seal_data(workspace, [workspace.train_rows.name, workspace.evaluation_items.name], [], {})
    return workspace, manifest.content_digest()


def test_what_is_trained_on_is_a_copy_that_no_change_of_the_volume_reaches(sealed: tuple[Workspace, str], tmp_path: Path) -> None:
    workspace, digest = sealed
    workspace.data_scan.write_text("counts")
    own = private_copy(workspace, digest, tmp_path)
    workspace.train_rows.write_bytes(b"swapped")
    workspace.data_scan.write_text("fewer")
    workspace.data_manifest.unlink()
    assert own.train_rows.read_bytes() == b"rows" * 1000
    assert verified_data(own).content_digest() == digest
    assert own.root == workspace.root
    assert own.data_scan.read_text() == "counts"
    assert not own.data_report.exists()


@pytest.mark.parametrize(
    "how", ["changed", "longer", "shorter", "a link to the same bytes", "gone", "sealed anew", "unsealed", "a path", "a report a link"]
)
def test_a_dataset_that_is_not_the_approved_one_is_not_copied(how: str, sealed: tuple[Workspace, str], tmp_path: Path) -> None:
    workspace, digest = sealed
    rows = workspace.train_rows
    if how == "changed":
        rows.write_bytes(b"sowr" * 1000)
    elif how == "longer":
        rows.write_bytes(rows.read_bytes() + b"x")
    elif how == "shorter":
        rows.write_bytes(rows.read_bytes()[:-1])
    elif how == "a link to the same bytes":
        rows.rename(tmp_path / "elsewhere")
        rows.symlink_to(tmp_path / "elsewhere")
    elif how == "gone":
        rows.unlink()
    elif how == "sealed anew":
        rows.write_bytes(b"other")
        seal_data(workspace, [rows.name], [], {})
    elif how == "unsealed":
        workspace.data_manifest.unlink()
    elif how == "a report a link":
        workspace.data_scan.symlink_to(rows)
    else:
        (workspace.root / "escaped").write_bytes(b"x")
        manifest = verified_data(workspace)
        file = manifest.files[0].model_copy(update={"name": "../escaped", "bytes": 1, "digest": file_digest(workspace.root / "escaped")})
        moved = manifest.model_copy(update={"files": [file]})
        workspace.data_manifest.write_text(moved.to_json())
        digest = moved.content_digest()
    with pytest.raises(DataError) as refused:
        private_copy(workspace, digest, tmp_path)
    assert refused.value.reason == "DigestMismatch"
