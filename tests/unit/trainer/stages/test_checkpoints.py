"""Which checkpoints count."""

import json
import shutil
from pathlib import Path

import pytest

from finetune_trainer.stages.checkpoints import MANIFEST, Checkpoint, CheckpointFolder

OURS = {"run": "r1", "data": "sha256:d1", "versions": "torch=1"}


def sealed(folder: CheckpointFolder, step: int, best: int | None = None) -> Checkpoint:
    draft = folder.begin(f"checkpoint-{step}")
    (draft / "weights").write_bytes(bytes([step]) * 100)
    (draft / "best").write_text(str(best or ""))
    return folder.seal(draft, f"checkpoint-{step}", step)


def best_of(path: Path) -> int | None:
    return int((path / "best").read_text() or 0) or None


@pytest.fixture
def folder(tmp_path: Path) -> CheckpointFolder:
    return CheckpointFolder(tmp_path / "checkpoints", OURS, keep=2)


def test_the_newest_sealed_one_is_found(folder: CheckpointFolder) -> None:
    sealed(folder, 9)
    newest = sealed(folder, 10)
    assert folder.newest().newest == newest
    assert folder.newest().skipped == []


def test_nothing_is_found_in_a_folder_that_does_not_exist(folder: CheckpointFolder) -> None:
    assert folder.newest().newest is None


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda path: (path / MANIFEST).unlink(), "no MANIFEST.json"),
        (lambda path: (path / MANIFEST).write_text("{"), "MANIFEST.json is unreadable"),
        (lambda path: (path / MANIFEST).write_text("[]"), "MANIFEST.json is unreadable"),
        (lambda path: ((path / MANIFEST).unlink(), (path / MANIFEST).mkdir()), "MANIFEST.json is unreadable"),
        (lambda path: (shutil.rmtree(path), path.write_text("")), "it is no folder"),
        (lambda path: (path / "weights").unlink(), "weights is missing"),
        (lambda path: (path / "weights").write_bytes(b"short"), "weights has 5 bytes instead of 100"),
        (lambda path: (path / "weights").write_bytes(b"x" * 100), "weights has other content"),
    ],
    ids=["unfinished", "torn manifest", "other json", "manifest a folder", "plain file", "file gone", "file cut", "file changed"],
)
def test_a_damaged_one_is_skipped_with_the_reason(damage: object, reason: str, folder: CheckpointFolder) -> None:
    good = sealed(folder, 3)
    bad = sealed(folder, 4)
    damage(bad.path)  # type: ignore[operator]
    found = folder.newest()
    assert found.newest == good
    assert found.skipped[0].startswith("checkpoint-4: ")
    assert reason in found.skipped[0]


@pytest.mark.parametrize("name", sorted(OURS))
def test_one_made_for_something_else_is_skipped_by_name(name: str, folder: CheckpointFolder) -> None:
    other = CheckpointFolder(folder.root, {**OURS, name: "other"}, keep=2)
    sealed(other, 4)
    found = folder.newest()
    assert found.newest is None
    assert f"made for another {name} (other" in found.skipped[0]


def test_an_unfinished_draft_is_no_checkpoint(folder: CheckpointFolder) -> None:
    (folder.begin("checkpoint-7") / "weights").write_bytes(b"half")
    assert folder.newest().newest is None


def test_rotation_keeps_the_newest_and_forgets_the_rest(folder: CheckpointFolder) -> None:
    for step in (1, 2, 3, 4):
        sealed(folder, step)
    folder.begin("checkpoint-5")
    folder.prune(best_of, None)
    assert sorted(path.name for path in folder.root.iterdir()) == ["checkpoint-3", "checkpoint-4"]


def test_rotation_never_deletes_the_only_one_that_is_whole(folder: CheckpointFolder) -> None:
    good = sealed(folder, 1)
    for step in (2, 3):
        (sealed(folder, step).path / MANIFEST).unlink()
    folder.prune(best_of, None)
    assert folder.newest().newest == good


def test_rotation_removes_plain_files_with_a_name_of_ours(folder: CheckpointFolder) -> None:
    good = sealed(folder, 1)
    for name in ("checkpoint-2", "best-2", ".checkpoint-3.draft"):
        (folder.root / name).write_text("not ours")
    folder.prune(best_of, None)
    assert [path.name for path in folder.root.iterdir()] == [good.path.name]
    (folder.root / "checkpoint-4").write_text("not ours")
    assert sealed(folder, 4) == folder.newest().newest


def test_the_best_models_that_checkpoints_refer_to_stay(folder: CheckpointFolder) -> None:
    for step in (2, 4, 6):
        folder.seal(folder.begin(f"best-{step}"), f"best-{step}", step)
    sealed(folder, 5, best=2)
    sealed(folder, 7, best=2)
    folder.prune(best_of, 6)
    assert sorted(path.name for path in folder.root.glob("best-*")) == ["best-2", "best-6"]


def test_a_manifest_holds_size_and_hash_of_every_file(folder: CheckpointFolder) -> None:
    checkpoint = sealed(folder, 1)
    manifest = json.loads((checkpoint.path / MANIFEST).read_text())
    assert set(manifest["files"]) == {"weights", "best"}
    assert manifest["files"]["weights"]["size"] == 100
    assert manifest["fingerprint"] == OURS
