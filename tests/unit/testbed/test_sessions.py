"""Test sessions keep their testbeds apart, and clear away what a killed session left."""

import os
import subprocess
from pathlib import Path

import pytest

from finetune_testbed import state, testing
from finetune_testbed.bed import Settings, Tier


@pytest.fixture(autouse=True)
def own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FINETUNE_TESTBED_STATE", str(tmp_path))


@pytest.fixture
def ended_process() -> int:
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid


def test_a_session_has_a_name_of_its_own_unless_its_testbed_is_kept() -> None:
    assert testing.session_name(Tier.T2, keep=False) == f"test-t2-{os.getpid()}"
    assert testing.session_name(Tier.T2, keep=True) == "keep-t2"


def test_what_a_killed_session_left_is_swept_and_nothing_else(ended_process: int) -> None:
    abandoned = [f"test-{purpose}-{ended_process}" for purpose in ("t1", "traces")]
    alive = testing.session_name(Tier.T1, keep=False)
    for name in (*abandoned, alive, "keep-t2", "default"):
        state.create(name, Settings())
    assert testing.sweep() == abandoned
    assert state.names() == sorted(["default", "keep-t2", alive])
