"""The container's limits, not the host's, under both versions of control groups."""

import os
from pathlib import Path

import pytest

from finetune_trainer.pod.resources import cpu_count, cpu_limit, memory_limit
from finetune_trainer.pod.threads import set_library_environment

AVAILABLE = len(os.sched_getaffinity(0))


def group(root: Path, **files: str) -> Path:
    for name, content in files.items():
        path = root / name.replace("__", "/").replace("_DOT_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content + "\n")
    return root


@pytest.mark.parametrize(
    ("files", "limit"),
    [
        ({"cpu_DOT_max": "150000 100000"}, 1.5),
        ({"cpu_DOT_max": "max 100000"}, None),
        ({"cpu__cpu_DOT_cfs_quota_us": "50000", "cpu__cpu_DOT_cfs_period_us": "100000"}, 0.5),
        ({"cpu__cpu_DOT_cfs_quota_us": "-1", "cpu__cpu_DOT_cfs_period_us": "100000"}, None),
        ({}, None),
    ],
)
def test_the_cpu_limit_is_read_from_either_version(files: dict[str, str], limit: float | None, tmp_path: Path) -> None:
    assert cpu_limit(group(tmp_path, **files)) == limit


def test_a_fraction_of_a_cpu_gets_one_thread_and_no_limit_gets_what_is_there(tmp_path: Path) -> None:
    assert cpu_count(group(tmp_path / "a", cpu_DOT_max="20000 100000")) == 1
    assert cpu_count(tmp_path / "b") == AVAILABLE
    assert cpu_count(group(tmp_path / "c", cpu_DOT_max=f"{AVAILABLE * 1000000} 100000")) == AVAILABLE


@pytest.mark.parametrize(
    ("files", "limit"),
    [
        ({"memory_DOT_max": "1073741824"}, 1 << 30),
        ({"memory_DOT_max": "max"}, None),
        ({"memory__memory_DOT_limit_in_bytes": "2147483648"}, 2 << 30),
        ({"memory__memory_DOT_limit_in_bytes": "9223372036854771712"}, None),
    ],
)
def test_the_memory_limit_is_read_from_either_version(files: dict[str, str], limit: int | None, tmp_path: Path) -> None:
    assert memory_limit(group(tmp_path, **files)) == limit


def test_threads_follow_the_limit_unless_a_person_set_them(tmp_path: Path) -> None:
    limited = group(tmp_path, cpu_DOT_max="100000 100000")
    environment: dict[str, str] = {}
    assert set_library_environment(online=False, environ=environment, cgroup=limited) == 1
    assert (environment["OMP_NUM_THREADS"], environment["HF_HUB_OFFLINE"]) == ("1", "1")
    chosen = {"OMP_NUM_THREADS": "3"}
    assert set_library_environment(online=True, environ=chosen, cgroup=limited) == 3
    assert chosen["HF_HUB_OFFLINE"] == "0"


@pytest.mark.parametrize(("cpus", "processes", "threads"), [(8, 1, 8), (8, 2, 4), (7, 2, 3), (2, 4, 1)])
def test_the_processes_of_a_step_share_its_threads(cpus: int, processes: int, threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("finetune_trainer.pod.threads.cpu_count", lambda _: cpus)
    environment: dict[str, str] = {}
    assert set_library_environment(online=False, environ=environment, processes=processes) == threads
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS")
    assert [environment[name] for name in names] == [str(threads)] * 3
    chosen = {"OMP_NUM_THREADS": "6", "RAYON_NUM_THREADS": "2"}
    assert set_library_environment(online=False, environ=chosen, processes=processes) == 6
    assert (chosen["MKL_NUM_THREADS"], chosen["RAYON_NUM_THREADS"]) == ("6", "2")


def test_threads_sleep_while_they_wait_unless_a_person_wants_them_to_spin(tmp_path: Path) -> None:
    environment: dict[str, str] = {}
    set_library_environment(online=False, environ=environment, cgroup=tmp_path)
    assert environment["OMP_WAIT_POLICY"] == "PASSIVE"
    spinning = {"OMP_WAIT_POLICY": "ACTIVE"}
    set_library_environment(online=False, environ=spinning, cgroup=tmp_path)
    assert spinning["OMP_WAIT_POLICY"] == "ACTIVE"
