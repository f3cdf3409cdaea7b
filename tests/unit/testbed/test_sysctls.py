"""Kernel settings come back when the last testbed goes, whatever the order."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from finetune_testbed.node import sysctls


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    for name, value in (("vm/overcommit_memory", "0"), ("kernel/panic", "1")):
        path = tmp_path / "proc" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(value + "\n")
    return tmp_path / "proc"


def values(proc: Path) -> tuple[str, str]:
    return (proc / "vm/overcommit_memory").read_text().strip(), (proc / "kernel/panic").read_text().strip()


def change(proc: Path) -> None:
    (proc / "vm/overcommit_memory").write_text("1")
    (proc / "kernel/panic").write_text("10")


def test_the_values_of_before_come_back(tmp_path: Path, proc: Path) -> None:
    run = tmp_path / "run"
    sysctls.remember("a", run, proc)
    change(proc)
    sysctls.restore("a", run, proc)
    assert values(proc) == ("0", "1")
    assert not run.exists()


def test_a_second_up_does_not_mistake_changed_values_for_the_first(tmp_path: Path, proc: Path) -> None:
    run = tmp_path / "run"
    sysctls.remember("a", run, proc)
    change(proc)
    sysctls.remember("a", run, proc)
    sysctls.restore("a", run, proc)
    assert values(proc) == ("0", "1")


@pytest.mark.parametrize("order", [("a", "b"), ("b", "a")])
def test_of_two_testbeds_the_last_one_restores(tmp_path: Path, proc: Path, order: tuple[str, str]) -> None:
    run = tmp_path / "run"
    sysctls.remember("a", run, proc)
    change(proc)
    sysctls.remember("b", run, proc)
    sysctls.restore(order[0], run, proc)
    assert values(proc) == ("1", "10"), "the other one still needs them"
    sysctls.restore(order[1], run, proc)
    assert values(proc) == ("0", "1")


def test_who_remembered_nothing_restores_nothing(tmp_path: Path, proc: Path) -> None:
    change(proc)
    sysctls.restore("a", tmp_path / "run", proc)
    assert values(proc) == ("1", "10")


def test_side_by_side_nobody_takes_anothers_changes_for_the_values_of_before(tmp_path: Path, proc: Path) -> None:
    """Many testbeds come and go at once; each changes the settings while it holds them."""
    run = tmp_path / "run"

    def come_and_go(number: int) -> None:
        for _ in range(20):
            sysctls.remember(f"bed-{number}", run, proc)
            change(proc)
            sysctls.restore(f"bed-{number}", run, proc)

    with ThreadPoolExecutor(4) as beds:
        for done in [beds.submit(come_and_go, number) for number in range(4)]:
            done.result()
    assert values(proc) == ("0", "1")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["proc"], "no lock file stays either"


def test_an_interrupted_remembering_leaves_no_half_a_record(tmp_path: Path, proc: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = tmp_path / "run"
    with monkeypatch.context() as crash:
        crash.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            sysctls.remember("a", run, proc)
    sysctls.remember("a", run, proc)
    change(proc)
    sysctls.restore("a", run, proc)
    assert values(proc) == ("0", "1")


def test_a_restoring_that_failed_is_done_again(tmp_path: Path, proc: Path) -> None:
    run = tmp_path / "run"
    sysctls.remember("a", run, proc)
    change(proc)
    (proc / "kernel/panic").rename(proc / "kernel/away")
    (proc / "kernel/panic").mkdir()
    with pytest.raises(OSError, match="panic"):
        sysctls.restore("a", run, proc)
    (proc / "kernel/panic").rmdir()
    (proc / "kernel/away").rename(proc / "kernel/panic")
    sysctls.restore("a", run, proc)
    assert values(proc) == ("0", "1")
