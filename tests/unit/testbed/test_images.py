"""Images survive an interruption at any point of their making, and two who want one at once make one."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from finetune_testbed import images, processes, state
from finetune_testbed.bed import Settings, Testbed, Tier
from finetune_testbed.failures import EXPLAINED
from finetune_testbed.images import base, buildkit, oci, recipes
from finetune_testbed.images.base import BaseImage, BaseImageError
from finetune_testbed.node import containerd
from finetune_testbed.node.layout import NodeLayout

DIGEST = "sha256:" + "d" * 64


class Store:
    """containerd's list of images: names and digests."""

    def __init__(self, **names: str) -> None:
        self.names = dict(names)

    def digest_of(self, _: NodeLayout, reference: str) -> str:
        return self.names.get(reference, "")

    def has_image(self, _: NodeLayout, reference: str) -> bool:
        return reference in self.names

    def run(self, _: NodeLayout, *arguments: str, **__: str) -> str:
        assert arguments[:3] == ("images", "tag", "--force"), arguments
        self.names[arguments[4]] = self.names[arguments[3]]
        return ""


@pytest.fixture
def bed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Testbed:
    monkeypatch.setenv("FINETUNE_TESTBED_CACHE", str(tmp_path / "cache"))
    made = state.create("one", Settings(tier=Tier.T3), tmp_path / "state")
    made.node_dir.mkdir()
    return made


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Store:
    made = Store()
    for name in ("digest_of", "has_image", "run"):
        monkeypatch.setattr(containerd, name, getattr(made, name))
    return made


@pytest.fixture
def base_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> BaseImage:
    made = BaseImage(tmp_path / "cache" / "images" / "base-x", "sha256:b")
    made.layout.mkdir(parents=True)
    (made.layout / "index.json").write_text("{}")
    monkeypatch.setattr(images, "_base", lambda *_: made)
    return made


def test_a_build_that_was_interrupted_before_its_last_name_is_completed(bed: Testbed, store: Store, base_image: BaseImage) -> None:
    recipe = recipes.find("operator")
    reference = f"{recipe.repository}:{recipes.content_key(recipe, images.ROOT, base_image.digest)}"
    store.names[reference] = DIGEST
    assert images.build(bed, "operator", print) == f"{reference}@{DIGEST}"
    assert store.names[f"{recipe.repository}@{DIGEST}"] == DIGEST, "the name that kubelet looks up"


def test_a_cache_that_is_not_cleared_fails_no_build(
    bed: Testbed, store: Store, base_image: BaseImage, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    refuses = tmp_path / "buildctl"
    refuses.write_text("#!/bin/sh\necho 'connection refused' >&2\nexit 1\n")
    refuses.chmod(0o755)
    monkeypatch.setattr(buildkit, "_buildctl", lambda _: (str(refuses),))
    monkeypatch.setattr(buildkit, "daemon", lambda _: None)
    monkeypatch.setattr(processes, "ensure", lambda *_: True)
    monkeypatch.setattr(processes, "stop", lambda *_: None)
    store.names["x:1"] = DIGEST
    monkeypatch.setattr(buildkit, "_run", lambda *_: DIGEST)
    said: list[str] = []
    what = buildkit.Build(tmp_path, tmp_path / "Dockerfile", "x:1")
    assert buildkit.build(NodeLayout(bed), what, base_image, said.append) == DIGEST
    assert store.names[f"x@{DIGEST}"] == DIGEST
    assert said == ["  the packages' cache stays on the disk until the next build: connection refused"]


def test_an_archive_that_was_not_finished_is_not_imported(
    bed: Testbed, store: Store, base_image: BaseImage, monkeypatch: pytest.MonkeyPatch
) -> None:
    imported: list[bytes] = []
    monkeypatch.setattr(containerd, "import_image", lambda _, archive: imported.append(archive.read_bytes()))

    def torn(archive: Path, _: Path) -> None:
        archive.write_bytes(b"half")
        raise KeyboardInterrupt

    with monkeypatch.context() as interrupted:
        interrupted.setattr(oci, "write_archive", torn)
        with pytest.raises(KeyboardInterrupt):
            images.ensure_base(bed, print)
    images.ensure_base(bed, print)
    assert b"index.json" in imported[0]


def bootstrap(then: Callable[[], Any]) -> Callable[..., None]:
    def made(tree: Path, _: Path) -> None:
        then()
        for folder in base.LEFT_OUT:
            (tree / folder).mkdir(parents=True, exist_ok=True)

    return made


def test_two_who_want_the_base_image_at_once_make_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, waits = threading.Semaphore(0), threading.Event()
    said: list[str] = []

    def collect() -> None:
        begun.release()
        assert waits.wait(60)

    def progress(text: str) -> None:
        said.append(text)
        if "another process" in text:
            waits.set()

    monkeypatch.setattr(base, "_bootstrap", bootstrap(collect))
    with ThreadPoolExecutor(2) as callers:
        asked = [callers.submit(base.ensure, tmp_path, "amd64", progress) for _ in range(2)]
        one, other = (answer.result(60) for answer in asked)
    assert one == other
    assert begun.acquire(blocking=False)
    assert not begun.acquire(blocking=False), "made twice"


def test_why_the_base_image_could_not_be_made_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "debootstrap"
    program.write_text("#!/bin/sh\nseq 100\necho 'E: Failed getting release file'\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr(base, "_host_mirror", lambda: "")
    with pytest.raises(BaseImageError, match=r"(?s)debootstrap ended with 1.*\n100\nE: Failed getting release file$") as caught:
        base.ensure(tmp_path / "cache", "amd64", print)
    assert "\n50\n" not in str(caught.value)
    assert not list((tmp_path / "cache" / "images").glob("base-*")), "nothing that looks finished"
    assert BaseImageError in EXPLAINED
