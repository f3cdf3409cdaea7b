"""What a newcomer lacks is said before anything is installed, with the reason and what to do."""

import os
import stat
import subprocess
from pathlib import Path

import pytest

from finetune_testbed import binaries
from finetune_testbed.bed import SOURCE

ROOT = SOURCE.parent


def dry_run(*arguments: str) -> list[str]:
    """The commands that make would run, in their order."""
    kept = {
        name: value for name, value in os.environ.items() if name not in {"KUBECONFIG", "CLUSTER", "PYTEST_FLAGS", "MAKEFLAGS", "MAKELEVEL"}
    }
    command = ["make", "--dry-run", "--always-make", *arguments]
    return subprocess.run(command, cwd=ROOT, env=kept, capture_output=True, text=True, check=True).stdout.splitlines()


@pytest.mark.parametrize("arguments", [("demo",), ("test",), ("test-e2e",), ("images",)], ids=" ".join)
def test_root_and_go_are_asked_for_before_the_python_environment(arguments: tuple[str, ...]) -> None:
    commands = dry_run(*arguments)
    environment = commands.index("hack/venv.sh .venv")
    assert "hack/preflight.sh root" in commands[:environment]
    assert "hack/preflight.sh go" in commands[:environment]


@pytest.mark.parametrize(
    ("arguments", "asked"),
    [
        (("demo", "CLUSTER=kind"), []),
        (("demo", "KUBECONFIG=/some/config"), []),
        (("test-unit",), []),
        (("test-cluster",), ["hack/preflight.sh go"]),
        (("test", "PYTEST_FLAGS=-x --allow-missing-tier T3"), ["hack/preflight.sh go"]),
        (("test", "PYTEST_FLAGS=--allow-missing-tier=T3"), ["hack/preflight.sh go"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_nobody_is_asked_for_what_is_not_needed(arguments: tuple[str, ...], asked: list[str]) -> None:
    assert [command for command in dry_run(*arguments) if "preflight" in command] == asked


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A PATH with the programs the script uses, and no Go."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("bash", "env", "dirname", "basename", "sed", "sort", "tail", "head"):
        (folder / name).symlink_to(next(place for place in (Path("/usr/bin", name), Path("/bin", name)) if place.exists()))
    return folder


def place(folder: Path, name: str, script: str) -> None:
    program = folder / name
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)


def preflight(path: Path, *needs: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": str(path), "HOME": str(path.parent), "FINETUNE_TESTBED_CACHE": str(path.parent / "cache")}
    return subprocess.run([str(ROOT / "hack/preflight.sh"), *needs], env=environment, capture_output=True, text=True, check=False)


def test_without_root_the_ways_out_are_named(path: Path) -> None:
    place(path, "id", "echo 1000")
    done = preflight(path, "root")
    assert done.returncode == 1
    assert "needs root" in done.stderr
    assert "Run make with sudo" in done.stderr
    assert "CLUSTER=kind" in done.stderr
    assert '--allow-missing-tier T3"' in done.stderr
    place(path, "id", "echo 0")
    assert preflight(path, "root").returncode == 0


def test_without_go_the_highest_version_that_any_module_asks_for_is_named(path: Path) -> None:
    done = preflight(path, "go")
    assert done.returncode == 1
    assert "no `go` command was found" in done.stderr
    assert "Install Go 1.26.8 or newer" in done.stderr


@pytest.mark.parametrize(("version", "fits"), [("go1.26.8", True), ("go1.27.0", True), ("go1.26.7", False), ("go1.9.0", False)])
def test_an_old_go_is_named(path: Path, version: str, fits: bool) -> None:
    place(path, "go", f"echo {version}")
    done = preflight(path, "go")
    assert (done.returncode == 0) is fits, done.stderr
    assert fits or f"need Go 1.26.8 and `go` is {version}" in done.stderr


def test_where_everything_is_built_no_go_is_needed(path: Path) -> None:
    for module in {program.module for program in binaries.PROGRAMS.values()}:
        stamp = path.parent / "cache" / "bin" / f"{module}-0123" / "program.go"
        stamp.parent.mkdir(parents=True)
        stamp.touch()
    assert preflight(path, "go").returncode == 0


def test_the_readme_asks_for_the_go_that_the_modules_ask_for(path: Path) -> None:
    wanted = preflight(path, "go").stderr.split("Install Go ")[1].split()[0]
    assert f"Go ≥ {wanted}" in (ROOT / "README.md").read_text()


@pytest.mark.parametrize(
    ("variables", "pip", "index"),
    [
        ({}, "", ""),
        ({}, "https://mirror.test/pip", "https://mirror.test/pip"),
        ({"PIP_INDEX_URL": "https://mirror.test/env"}, "https://mirror.test/pip", "https://mirror.test/env"),
        ({"UV_INDEX_URL": "https://mirror.test/uv", "PIP_INDEX_URL": "https://mirror.test/env"}, "", "https://mirror.test/uv"),
        ({"UV_DEFAULT_INDEX": "https://mirror.test/own", "PIP_INDEX_URL": "https://mirror.test/env"}, "", "https://mirror.test/own"),
    ],
)
def test_the_python_environment_comes_from_the_mirror_that_pip_uses(
    tmp_path: Path, variables: dict[str, str], pip: str, index: str
) -> None:
    programs = tmp_path / "venv" / "bin"
    programs.mkdir(parents=True)
    place(programs, "uv", f'echo "${{UV_DEFAULT_INDEX:-}}" >> {tmp_path}/asked')
    place(programs, "python", f"echo {pip}; [ -n '{pip}' ]")
    done = subprocess.run(
        [str(ROOT / "hack/venv.sh"), str(tmp_path / "venv")],
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert set((tmp_path / "asked").read_text().splitlines()) == {index}
