"""Which cluster `make` takes for the demo, and what taking it away does and says."""

import os
import stat
import subprocess
from pathlib import Path

import pytest

from demo import environment
from demo.environment import EnvironmentUnavailableError
from finetune_testbed import lifecycle

ROOT = Path(__file__).parents[3]


def make(*arguments: str, **variables: str) -> str:
    """What make would run; the environment counts as already made."""
    kept = {
        name: value for name, value in os.environ.items() if name not in {"KUBECONFIG", "CLUSTER", "PYTEST_FLAGS", "MAKEFLAGS", "MAKELEVEL"}
    }
    command = ["make", "--dry-run", "--assume-old=.venv/.ready", *arguments]
    return subprocess.run(command, cwd=ROOT, env={**kept, **variables}, capture_output=True, text=True, check=True).stdout


def commands(folder: Path, monkeypatch: pytest.MonkeyPatch, *names: str) -> Path:
    """Programs on the PATH that write down how they were called; returns the list of calls."""
    calls = folder / "calls"
    calls.touch()
    for name in names:
        program = folder / name
        program.write_text(f'#!/bin/sh\necho {name} "$@" >> {calls}\n[ "$1" = get ] && echo finetune\nexit 0\n')
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    return calls


@pytest.mark.parametrize("target", ["demo", "demo-down"])
def test_an_exported_kubeconfig_does_not_choose_another_cluster(target: str) -> None:
    assert '--cluster "testbed"' in make(target, KUBECONFIG="/some/config")


@pytest.mark.parametrize("target", ["demo", "demo-down"])
def test_a_kubeconfig_on_makes_command_line_means_that_cluster(target: str) -> None:
    assert '--cluster "existing"' in make(target, "KUBECONFIG=/some/config")
    assert '--cluster "kind"' in make(target, "CLUSTER=kind", KUBECONFIG="/some/config")


def test_down_says_whether_there_was_a_testbed(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr("os.geteuid", lambda: 0)
    for there in (True, False):
        monkeypatch.setattr(lifecycle, "down", lambda name, say, there=there: there)
        environment.stop("testbed", said.append)
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    environment.stop("testbed", said.append)
    assert said[:2] == ["demo: down", "demo: there is no such testbed"]
    assert said[2].endswith("one that root started goes with: sudo make demo-down")


def test_down_leaves_an_existing_cluster_alone_and_says_so() -> None:
    said: list[str] = []
    environment.stop("existing", said.append)
    assert "stays as it is" in said[0]


@pytest.mark.parametrize("act", [lambda kind: environment.stop(kind, print), lambda kind: environment.start(kind, "", print)])
def test_an_unknown_kind_is_refused(act: object) -> None:
    assert callable(act)
    with pytest.raises(EnvironmentUnavailableError, match="CLUSTER=minikube is not known; use testbed, kind, or existing"):
        act("minikube")


def test_an_existing_cluster_needs_its_kubeconfig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commands(tmp_path, monkeypatch, "kubectl", "helm")
    monkeypatch.delenv("KUBECONFIG", raising=False)
    with pytest.raises(EnvironmentUnavailableError, match=r"make demo KUBECONFIG="):
        environment.start("existing", "registry.example/team", print)


def test_a_kind_cluster_that_is_there_already_gives_its_kubeconfig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = commands(tmp_path, monkeypatch, "kind", "docker", "kubectl", "helm")
    monkeypatch.chdir(tmp_path)
    surroundings = environment.start("kind", "", print)
    assert f"kind export kubeconfig --name finetune --kubeconfig {surroundings.kubeconfig}" in calls.read_text()
    assert "create cluster" not in calls.read_text()


def test_a_kind_cluster_cannot_be_deleted_without_kind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EnvironmentUnavailableError, match="kind is not on the PATH"):
        environment.stop("kind", print)
