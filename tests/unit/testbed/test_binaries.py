"""Programs are cached by what decides their bytes, and their absence is explained."""

import os
import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from finetune_testbed import binaries
from finetune_testbed.bed import SOURCE, Tier
from finetune_testbed.binaries import PROGRAMS, BinariesError


def place(folder: Path, name: str, text: str = "#!/bin/sh\n") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    program = folder / name
    program.write_text(text)
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return program


@pytest.fixture(autouse=True)
def no_assets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBEBUILDER_ASSETS", raising=False)


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the wrapper modules that a test may edit."""
    source = tmp_path / "testbed"
    for module in ("etcd", "kube", "helm"):
        for name in ("go.mod", "go.sum"):
            target = source / "modules" / module / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text((SOURCE / "modules" / module / name).read_text())
    monkeypatch.setattr(binaries, "SOURCE", source)
    return source / "modules"


def fake_go(folder: Path, monkeypatch: pytest.MonkeyPatch, version: str, build: str = "exit 1") -> None:
    """A `go` that answers its version, and builds as told (the output path is argument 8)."""
    script = f'#!/bin/sh\nif [ "$1" = env ]; then echo {version}; exit 0; fi\n{build}\n'
    place(folder, "go", script)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


def test_the_cache_follows_its_variables() -> None:
    assert binaries.cache_root({"FINETUNE_TESTBED_CACHE": "/a/b"}) == Path("/a/b")
    assert binaries.cache_root({"XDG_CACHE_HOME": "/c"}) == Path("/c/finetune-testbed")
    assert binaries.cache_root({}) == Path.home() / ".cache/finetune-testbed"


def test_a_changed_module_or_go_version_changes_the_key(modules: Path) -> None:
    etcd = PROGRAMS["etcd"]
    before = binaries.build_key(etcd, "go1.26.8")
    assert binaries.build_key(etcd, "go1.26.8") == before
    assert binaries.build_key(etcd, "go1.26.9") != before
    with (modules / "etcd" / "go.sum").open("a") as stream:
        stream.write("example.org/x v1.0.0 h1:abc=\n")
    assert binaries.build_key(etcd, "go1.26.8") != before


def test_kubernetes_versions_are_stamped_in_both_packages() -> None:
    flags = binaries.link_flags(PROGRAMS["kubectl"])
    version = binaries.module_version("kube", "k8s.io/kubernetes")
    assert f"-X=k8s.io/component-base/version.gitVersion={version}" in flags
    assert f"-X=k8s.io/client-go/pkg/version.gitVersion={version}" in flags
    assert "-X=k8s.io/client-go/pkg/version.gitMinor=36" in flags


@pytest.mark.parametrize("program", PROGRAMS.values(), ids=lambda program: program.name)
def test_every_program_is_a_tool_of_its_module(program: binaries.Program) -> None:
    assert program.package in (SOURCE / "modules" / program.module / "go.mod").read_text()
    assert (SOURCE / "modules" / program.module / "go.sum").read_text().count("\n") > 100


def test_each_tier_asks_only_for_what_it_runs() -> None:
    assert set(binaries.TIER_PROGRAMS[Tier.T1]) == {"etcd", "kube-apiserver", "kubectl"}
    assert "kubelet" not in binaries.TIER_PROGRAMS[Tier.T2]
    assert "kwok" not in binaries.TIER_PROGRAMS[Tier.T3]


def test_kubebuilder_assets_are_used_when_they_are_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assets = tmp_path / "assets"
    for name in ("etcd", "kube-apiserver"):
        place(assets, name)
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(assets))
    assert binaries.find("etcd", tmp_path / "cache") is None
    place(assets, "kubectl")
    assert binaries.find("etcd", tmp_path / "cache") == assets / "etcd"
    assert binaries.find("kwok", tmp_path / "cache") is None


def test_without_go_the_message_says_which_version_to_install(modules: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BinariesError, match=r"helm has to be built and no `go` command was found\. Install Go 1\.26\.0 or newer"):
        binaries.ensure(["helm"], tmp_path / "cache", print)


def test_an_old_go_is_named(modules: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_go(tmp_path / "bin", monkeypatch, "go1.24.4")
    with pytest.raises(BinariesError, match=r"helm needs Go 1\.26\.0 and `go` is go1\.24\.4"):
        binaries.ensure(["helm"], tmp_path / "cache", print)


def test_a_build_is_made_once_with_a_line_at_its_start_and_end(modules: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    marks = tmp_path / "builds"
    build = f'while [ "$1" != -o ]; do shift; done; echo x >> {marks}; echo program > "$2"'
    fake_go(tmp_path / "bin", monkeypatch, "go1.26.8", build)
    said: list[str] = []
    first = binaries.ensure(["etcd", "helm"], tmp_path / "cache", said.append)
    assert [line.split(":")[0] for line in said] == ["[1/2] etcd", "[1/2] etcd", "[2/2] helm", "[2/2] helm"]
    assert "built in" in said[1]
    assert first["etcd"].read_text() == "program\n"
    said.clear()
    monkeypatch.setenv("PATH", str(tmp_path))
    assert binaries.ensure(["etcd", "helm"], tmp_path / "cache", said.append) == first
    assert said == []
    assert marks.read_text() == "x\nx\n"


def test_a_failed_build_shows_the_compilers_words_and_leaves_nothing(
    modules: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_go(tmp_path / "bin", monkeypatch, "go1.26.8", "echo 'undefined: thing'; exit 1")
    with pytest.raises(BinariesError, match="undefined: thing"):
        binaries.ensure(["etcd"], tmp_path / "cache", print)
    assert binaries.find("etcd", tmp_path / "cache") is None


def test_two_callers_do_not_build_the_same_program_twice(modules: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    marks, gate = tmp_path / "builds", tmp_path / "gate"
    os.mkfifo(gate)
    build = f'while [ "$1" != -o ]; do shift; done; echo x >> {marks}; read line < {gate}; echo program > "$2"'
    fake_go(tmp_path / "bin", monkeypatch, "go1.26.8", build)
    waits = threading.Event()

    def progress(text: str) -> None:
        if "another build runs" in text:
            waits.set()

    with ThreadPoolExecutor(2) as callers:
        asked = [callers.submit(binaries.ensure, ["etcd"], tmp_path / "cache", progress) for _ in range(2)]
        assert waits.wait(60)
        gate.write_text("go on\n")
        first, second = (answer.result(60) for answer in asked)
    assert first == second
    assert marks.read_text() == "x\n"


def test_a_go_too_old_for_a_later_program_is_found_before_the_first_build(
    modules: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    newer = (modules / "helm" / "go.mod").read_text().replace("go 1.26.0", "go 1.26.8")
    (modules / "helm" / "go.mod").write_text(newer)
    fake_go(tmp_path / "bin", monkeypatch, "go1.26.1")
    said: list[str] = []
    with pytest.raises(BinariesError, match=r"helm needs Go 1\.26\.8 and `go` is go1\.26\.1"):
        binaries.ensure(["etcd", "helm"], tmp_path / "cache", said.append)
    assert said == []
