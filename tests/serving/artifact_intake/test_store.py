"""An artifact is taken whole and right, or not at all, and the reason is said."""

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from finetune_inference.artifact.contents import Limits, refuse_kind
from finetune_inference.artifact.copying import copy_artifact
from finetune_inference.artifact.errors import IntakeError, Interrupted
from finetune_inference.artifact.place import Place
from finetune_inference.artifact.store import Store
from finetune_trainer.artifact.contents import inspect
from tests.engines.artifacts import AdapterFiles, Published, publish


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    return tmp_path / "volume"


@pytest.fixture
def published(volume: Path) -> Published:
    return publish(AdapterFiles(), volume)


@pytest.fixture
def store(tmp_path: Path, volume: Path) -> Store:
    made = Store(tmp_path / "store", {"adapters": volume}, Limits(bytes=1 << 20, files=8))
    made.open()
    return made


@dataclass(frozen=True)
class Spoiled:
    says: str
    field: str
    reason: str
    way_out: str
    spoil: Callable[[Path], object]
    passing: bool = False


SPOILED = [
    Spoiled("a pickle", "adapter_model.bin", "PickleRefused", "safe_serialization", lambda folder: (folder / "adapter_model.bin").touch()),
    Spoiled("a pickle in capitals", "x.PT", "PickleRefused", "safe_serialization", lambda folder: (folder / "x.PT").touch()),
    Spoiled("a file that is no part", "run.sh", "FileUnexpected", "nothing else", lambda folder: (folder / "run.sh").touch()),
    Spoiled("a folder inside", "checkpoint-1", "FileUnexpected", "flat folder", lambda folder: (folder / "checkpoint-1").mkdir()),
    Spoiled("a link to a file", "vocab.json", "SymlinkRefused", "cp -L", lambda folder: (folder / "vocab.json").symlink_to("/etc/passwd")),
    Spoiled("a link into nothing", "vocab.json", "SymlinkRefused", "cp -L", lambda folder: (folder / "vocab.json").symlink_to("nothing")),
    Spoiled("a pipe", "vocab.json", "SpecialFileRefused", "Remove it", lambda folder: os.mkfifo(folder / "vocab.json")),
    Spoiled(
        "too many bytes",
        "uri",
        "TooLarge",
        "--max-artifact-bytes",
        lambda folder: os.truncate(folder / "adapter_model.safetensors", 2 << 20),
    ),
    Spoiled(
        "too many files", "uri", "TooManyFiles", "one artifact", lambda folder: [(folder / f"{n}.safetensors").touch() for n in range(9)]
    ),
    Spoiled(
        "a torn file", "digest", "DigestMismatch", "publish the artifact again", lambda folder: os.truncate(folder / "finetune.json", 5)
    ),
    Spoiled("a file more", "digest", "DigestMismatch", "publish the artifact again", lambda folder: (folder / "README.md").touch()),
    Spoiled("a file less", "digest", "DigestMismatch", "publish the artifact again", lambda folder: (folder / "finetune.json").unlink()),
    Spoiled(
        "an empty folder",
        "uri",
        "ArtifactMissing",
        "publish step",
        lambda folder: [path.unlink() for path in folder.iterdir()],
        passing=True,
    ),
    Spoiled("nothing there", "uri", "ArtifactMissing", "Check uri", shutil.rmtree, passing=True),
]


@pytest.mark.parametrize("case", SPOILED, ids=lambda case: case.says)
def test_refused_and_nothing_is_left(store: Store, published: Published, case: Spoiled) -> None:
    case.spoil(published.folder)
    with pytest.raises(IntakeError) as refused:
        store.fetch(published.uri, published.digest)
    finding = refused.value.finding
    assert (finding.field, finding.reason) == (case.field, case.reason)
    assert case.way_out in finding.way_out
    assert refused.value.passing is case.passing
    assert list(store.folder.iterdir()) == []


@pytest.mark.parametrize(
    ("uri", "reason", "way_out"),
    [
        ("s3://bucket/adapter", "SchemeUnsupported", "pvc://CLAIM/PATH"),
        ("https://host/adapter", "SchemeUnsupported", "pvc://CLAIM/PATH"),
        ("/etc", "SchemeUnsupported", "pvc://CLAIM/PATH"),
        ("pvc://adapters/../../etc", "UriInvalid", "as it is on the volume"),
        ("pvc://adapters/team/./x", "UriInvalid", "as it is on the volume"),
        ("pvc://adapters//etc", "UriInvalid", "as it is on the volume"),
        ("pvc://adapters/", "UriInvalid", "as it is on the volume"),
        ("pvc://adapters", "UriInvalid", "as it is on the volume"),
        ("pvc:///etc/x", "UriInvalid", "as it is on the volume"),
        ("pvc://adapters/a%2f..", "UriInvalid", "as it is on the volume"),
        ("pvc://other/team/x", "ClaimNotMounted", "Mount the claim"),
    ],
)
def test_an_uri_that_leads_elsewhere_is_refused(store: Store, uri: str, reason: str, way_out: str) -> None:
    with pytest.raises(IntakeError) as refused:
        store.fetch(uri, "sha256:" + "0" * 64)
    assert (refused.value.finding.field, refused.value.finding.reason) == ("uri", reason)
    assert way_out in refused.value.finding.way_out


def test_a_linked_folder_on_the_way_is_not_followed(store: Store, published: Published, volume: Path, tmp_path: Path) -> None:
    (volume / "team").rename(tmp_path / "outside")
    (volume / "team").symlink_to(tmp_path / "outside")
    with pytest.raises(IntakeError) as refused:
        store.fetch(published.uri, published.digest)
    assert (refused.value.finding.field, refused.value.finding.reason) == ("team", "SymlinkRefused")


def test_a_file_swapped_for_a_link_while_others_are_copied_is_not_followed(store: Store, published: Published, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("not yours")
    copied: list[int] = []

    def swap_after_the_first_file() -> bool:
        if not copied:
            late = published.folder / "finetune.json"
            late.unlink()
            late.symlink_to(secret)
        copied.append(1)
        return True

    with pytest.raises(IntakeError) as refused:
        store.fetch(published.uri, published.digest, swap_after_the_first_file)
    assert refused.value.finding.reason == "SymlinkRefused"
    assert list(store.folder.iterdir()) == []


def test_a_file_that_grows_under_the_copy_is_cut_off_at_the_limit(published: Published, tmp_path: Path) -> None:
    weights = published.folder / "adapter_config.json"

    def grow() -> bool:
        with weights.open("ab") as file:
            file.write(bytes(1 << 20))
        return True

    target = tmp_path / "target"
    target.mkdir()
    place = Place(published.folder.parent, (published.folder.name,))
    with pytest.raises(IntakeError) as refused:
        copy_artifact(place, target, Limits(bytes=1 << 20), grow)
    assert refused.value.finding.reason == "TooLarge"


def test_a_fetched_artifact_has_the_digest_that_the_trainer_gives_it(store: Store, published: Published) -> None:
    folder = store.fetch(published.uri, published.digest)
    assert inspect(folder).digest == published.digest
    assert folder.name == published.digest.removeprefix("sha256:")
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o644}


def test_what_is_here_and_whole_is_not_fetched_again(store: Store, published: Published) -> None:
    store.fetch(published.uri, published.digest)
    shutil.rmtree(published.folder)
    assert store.fetch(published.uri, published.digest).is_dir()


@pytest.mark.parametrize(
    "damage",
    [
        lambda copy: (copy / "finetune.json").write_text("{}"),
        lambda copy: (copy / "more.json").touch(),
        lambda copy: (copy / "finetune.json").unlink(),
        lambda copy: ((copy / "finetune.json").unlink(), (copy / "finetune.json").symlink_to("/etc/hostname")),
        lambda copy: (shutil.rmtree(copy), copy.touch()),
    ],
    ids=["changed", "more", "less", "a link", "a file in its place"],
)
def test_a_damaged_copy_is_noticed_and_fetched_again(store: Store, published: Published, damage: Callable[[Path], object]) -> None:
    copy = store.fetch(published.uri, published.digest)
    damage(copy)
    assert not store.intact(published.digest)
    assert store.held() == frozenset()
    assert store.intact(published.digest) is False
    assert inspect(store.fetch(published.uri, published.digest)).digest == published.digest


def test_a_stop_in_the_middle_leaves_nothing(store: Store, published: Published) -> None:
    with pytest.raises(Interrupted):
        store.fetch(published.uri, published.digest, lambda: False)
    assert list(store.folder.iterdir()) == []


def test_opening_sweeps_what_a_kill_left_and_nothing_else(store: Store, published: Published) -> None:
    kept = store.fetch(published.uri, published.digest)
    for left in (".{}.tmp", ".{}.old"):
        (store.folder / left.format("a" * 64)).mkdir()
    (store.folder / "lost+found").mkdir()
    store.open()
    assert {path.name for path in store.folder.iterdir()} == {kept.name, "lost+found"}


def test_collecting_keeps_what_is_wanted_and_what_is_no_artifact(store: Store, volume: Path) -> None:
    first, second = publish(AdapterFiles(seed=1), volume), publish(AdapterFiles(seed=2), volume)
    for artifact in (first, second):
        store.fetch(artifact.uri, artifact.digest)
    (store.folder / "lost+found").mkdir()
    assert store.collect({first.digest}) == (second.folder.name,)
    assert {path.name for path in store.folder.iterdir()} == {first.folder.name, "lost+found"}


def test_a_device_is_refused_by_kind() -> None:
    with pytest.raises(IntakeError, match="SpecialFileRefused"):
        refuse_kind("x", Path("/dev/null").stat().st_mode)
