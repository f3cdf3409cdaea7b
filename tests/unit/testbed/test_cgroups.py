"""On a host with control groups of version 2 kubelet finds the controllers it needs, and the last testbed takes them back."""

import errno
import os
from pathlib import Path

import pytest

from finetune_testbed.node import cgroups
from finetune_testbed.processes import ProcessError


class Kernel:
    """A version 2 hierarchy in a folder: a group has the controllers that its parent passes on."""

    def __init__(self, root: Path, offered: str, passed_on: str = "") -> None:
        self.root = root
        self.make(root, offered)
        for controller in passed_on.split():
            self.write(root / "cgroup.subtree_control", f"+{controller}")

    def make(self, group: Path, controllers: str = "") -> None:
        group.mkdir(parents=True, exist_ok=True)
        for name in ("cgroup.controllers", "cgroup.subtree_control", "cgroup.procs"):
            if not (group / name).exists():
                (group / name).write_text(controllers if name == "cgroup.controllers" else "")

    def groups(self, below: Path) -> list[Path]:
        return [path for path in below.iterdir() if path.is_dir()]

    def passed_on(self, group: Path) -> set[str]:
        return set((group / "cgroup.subtree_control").read_text().split())

    def write(self, control: Path, text: str) -> None:
        """What the kernel does with `+cpu` or `-cpu`."""
        group, controller = control.parent, text[1:]
        assert controller in (group / "cgroup.controllers").read_text().split()
        now = self.passed_on(group)
        if text[0] == "+":
            if (group / "cgroup.procs").read_text() and group != self.root:
                raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))
            now.add(controller)
        else:
            for child in self.groups(group):
                self.make(child)
                if controller in self.passed_on(child):
                    raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))
            now.discard(controller)
        control.write_text(" ".join(sorted(now)))
        for child in self.groups(group):
            self.make(child)
            (child / "cgroup.controllers").write_text(" ".join(sorted(now)))


def rmdir(group: Path) -> None:
    """The files of a group go with it."""
    for path in group.iterdir():
        path.unlink()
    os.rmdir(group)  # noqa: PTH106 - Path.rmdir is this


def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, offered: str, passed_on: str = "") -> Kernel:
    kernel = Kernel(tmp_path / "cgroup", offered, passed_on)
    monkeypatch.setattr(cgroups, "_hierarchies", lambda: iter([kernel.root]))
    monkeypatch.setattr(cgroups, "_write", kernel.write)
    return kernel


def remove(name: str, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as kernel_like:
        real = Path.rmdir
        kernel_like.setattr(Path, "rmdir", lambda path: rmdir(path) if (path / "cgroup.procs").exists() else real(path))
        cgroups.remove(name, run)


def test_a_group_gets_what_kubelet_needs_of_what_the_host_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = host(tmp_path, monkeypatch, "cpuset cpu io memory pids", passed_on="memory pids")
    cgroups.ensure("finetune-testbed/one", tmp_path / "run")
    group = kernel.root / "finetune-testbed" / "one"
    assert set((group / "cgroup.controllers").read_text().split()) == {"cpu", "cpuset", "memory", "pids"}


def test_the_last_testbed_takes_back_what_the_first_switched_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = host(tmp_path, monkeypatch, "cpuset cpu memory pids hugetlb", passed_on="memory")
    run = tmp_path / "run"
    for name in ("one", "two", "one"):
        cgroups.ensure(f"finetune-testbed/{name}", run)
    remove("finetune-testbed/one", run, monkeypatch)
    assert kernel.passed_on(kernel.root) == {"cpu", "cpuset", "memory", "pids", "hugetlb"}, "the other one still needs them"
    remove("finetune-testbed/two", run, monkeypatch)
    assert kernel.passed_on(kernel.root) == {"memory"}
    assert kernel.groups(kernel.root) == []
    assert not run.exists()


def test_what_others_pass_on_meanwhile_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = host(tmp_path, monkeypatch, "cpu memory pids")
    cgroups.ensure("finetune-testbed/one", tmp_path / "run")
    kernel.make(kernel.root / "system.slice", "cpu memory pids")
    kernel.write(kernel.root / "system.slice/cgroup.subtree_control", "+cpu")
    remove("finetune-testbed/one", tmp_path / "run", monkeypatch)
    assert kernel.passed_on(kernel.root) == {"cpu"}


def test_a_group_above_that_holds_processes_is_explained_with_the_next_action(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = host(tmp_path, monkeypatch, "cpu memory")
    inside = kernel.root / "container"
    kernel.make(inside, "cpu memory")
    (inside / "cgroup.procs").write_text("17")
    monkeypatch.setattr(cgroups, "_hierarchies", lambda: iter([inside]))
    with pytest.raises(ProcessError, match=r"cpu controller .* mkdir -p .*/container/init"):
        cgroups.ensure("finetune-testbed/one", tmp_path / "run")


def test_version_1_needs_none_of_this(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cgroup/cpu").mkdir(parents=True)
    monkeypatch.setattr(cgroups, "_hierarchies", lambda: iter([tmp_path / "cgroup/cpu"]))
    cgroups.ensure("finetune-testbed/one", tmp_path / "run")
    assert (tmp_path / "cgroup/cpu/finetune-testbed/one").is_dir()
    cgroups.remove("finetune-testbed/one", tmp_path / "run")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["cgroup", "cpu"]


@pytest.mark.parametrize(("control", "each"), [("cpu.shares", 1024), ("cpu.weight", 100)])
def test_pods_weigh_as_much_as_the_processors_they_may_use(
    control: str, each: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    group = tmp_path / "cpu/finetune-testbed/one"
    for part in (group, group.parent):
        part.mkdir(parents=True, exist_ok=True)
        (part / control).write_text(str(each))
    monkeypatch.setattr(cgroups, "_hierarchies", lambda: iter([tmp_path / "cpu"]))
    cgroups.ensure("finetune-testbed/one", tmp_path / "run")
    assert {(part / control).read_text() for part in (group, group.parent)} == {str(each * (os.cpu_count() or 1))}
