"""Every test belongs to a tier, and the summary names all tiers, missing ones too."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = """
import pytest

def test_folder_decides(): pass

@pytest.mark.t2
def test_marker_decides(): pass

def test_fixture_decides(t1): pass
"""


def run(folder: Path, *arguments: str, ci: bool = False) -> subprocess.CompletedProcess[str]:
    """A session of its own. Its state root is a file, so no testbed can start."""
    tests = folder / "tests" / "unit"
    tests.mkdir(parents=True, exist_ok=True)
    (tests / "test_it.py").write_text(TESTS)
    (folder / "pytest.ini").write_text("[pytest]\nmarkers =\n  t1: x\n  t2: x\n  t3: x\n")
    blocked = folder / "file"
    blocked.touch()
    environment = {
        **os.environ,
        "FINETUNE_TESTBED_STATE": str(blocked / "state"),
        "CI": "true" if ci else "false",
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
    }
    plugins = ["-p", "finetune_testbed.pytest_plugin", "-p", "no:cacheprovider"]
    return subprocess.run(
        [sys.executable, "-m", "pytest", *plugins, *arguments, str(tests)],
        cwd=folder, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_a_tier_that_cannot_start_fails(tmp_path: Path) -> None:
    done = run(tmp_path)
    assert done.returncode == 1
    assert "tier T1 cannot start" in done.stdout
    assert "T0  1 passed" in done.stdout
    assert "T1  1 failed - cannot start:" in done.stdout
    assert "T2  1 passed" in done.stdout
    assert "T3  no test selected" in done.stdout


def test_a_missing_tier_that_is_allowed_is_skipped_by_name(tmp_path: Path) -> None:
    done = run(tmp_path, "--allow-missing-tier", "T1")
    assert done.returncode == 0
    assert "T1  1 skipped - cannot start:" in done.stdout


def test_a_host_on_which_no_real_node_can_start_is_skipped_by_name(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text("import os\n\nos.geteuid = lambda: 1000\n")
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_own.py").write_text("import pytest\n\n@pytest.mark.t3\ndef test_own(t3_host): pass\n")
    allowed = run(tmp_path, "--allow-missing-tier", "T3", str(tmp_path), "--deselect=tests/unit")
    assert "T3  1 skipped - cannot start: Tier T3 needs root" in allowed.stdout


def test_the_summary_is_the_same_when_worker_processes_run_the_tests(tmp_path: Path) -> None:
    done = run(tmp_path, "-p", "xdist.plugin", "-n", "2", "--dist", "loadscope", "--allow-missing-tier", "T1")
    assert done.returncode == 0
    assert "T0  1 passed" in done.stdout
    assert "T1  1 skipped - cannot start:" in done.stdout
    assert "T2  1 passed" in done.stdout


def test_what_shares_a_testbed_stays_in_one_worker_process(tmp_path: Path) -> None:
    folder = tmp_path / "tests" / "cluster"
    folder.mkdir(parents=True)
    for name in ("first", "second", "third"):
        (folder / f"test_{name}.py").write_text("def test_it(): pass\n")
    done = run(tmp_path, "-p", "xdist.plugin", "-n", "2", "--dist", "loadscope", "-v", "--allow-missing-tier", "T1", str(folder))
    told = [line for line in done.stdout.splitlines() if line.startswith("[gw") and "tests/cluster/" in line]
    assert len(told) == 3
    assert len({line.split("]")[0] for line in told}) == 1


def test_in_ci_no_tier_may_be_missing(tmp_path: Path) -> None:
    done = run(tmp_path, "--allow-missing-tier", "T1", ci=True)
    assert done.returncode == 1
    assert "T1  1 failed - cannot start:" in done.stdout


def test_tiers_can_be_selected_by_marker(tmp_path: Path) -> None:
    done = run(tmp_path, "-m", "not t1")
    assert done.returncode == 0
    assert "T1  no test selected" in done.stdout


@pytest.fixture(scope="module")
def real_nodes() -> list[str]:
    """The file of each test that starts a real node, in the order in which they run."""
    root = Path(__file__).parents[3]
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", "-m", "t3", "tests/e2e", "tests/cluster"]
    listed = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True).stdout.splitlines()
    return [line.split("::")[0] for line in listed if "::" in line]


def test_the_host_is_compared_before_the_session_has_a_real_node_of_its_own(real_nodes: list[str]) -> None:
    compared = real_nodes.count("tests/e2e/test_host_is_left_as_it_was.py")
    assert compared
    assert set(real_nodes[:compared]) == {"tests/e2e/test_host_is_left_as_it_was.py"}


def test_every_test_that_starts_a_real_node_is_in_the_folder_that_one_worker_process_runs_whole(real_nodes: list[str]) -> None:
    """Two nodes that come and go beside each other would see each other's traces on the host."""
    assert {file.rpartition("/")[0].split("/")[1] for file in real_nodes} == {"e2e"}
