"""What a host lacks is said with numbers and names before anything is started."""

import os
import subprocess
from pathlib import Path

import pytest

from finetune_testbed import cli, debian, preflight
from finetune_testbed.bed import Tier
from finetune_testbed.debian import PackagesError, Requirement
from finetune_testbed.preflight import GB, Host, PreflightError

HOST = Host(is_root=True, free_disk=80 * GB, available_memory=20 * GB)
PLACE = Path("/cache")


def test_a_fit_host_passes() -> None:
    for tier in Tier:
        preflight.require(HOST, tier, build=True, folder=PLACE)


def test_t3_needs_root_and_names_the_alternative() -> None:
    host = Host(is_root=False, free_disk=80 * GB, available_memory=20 * GB)
    preflight.require(host, Tier.T2, build=True, folder=PLACE)
    with pytest.raises(PreflightError, match=r"needs root.*or use T2"):
        preflight.require(host, Tier.T3, build=False, folder=PLACE)


def test_little_disk_is_refused_with_both_numbers_and_the_place() -> None:
    host = Host(is_root=True, free_disk=5 * GB, available_memory=20 * GB)
    with pytest.raises(PreflightError, match=r"12 GB of free disk are needed at /cache .*5\.0 GB are free"):
        preflight.require(host, Tier.T1, build=True, folder=PLACE)
    preflight.require(host, Tier.T1, build=False, folder=PLACE)


def test_little_memory_is_refused_with_both_numbers() -> None:
    host = Host(is_root=True, free_disk=80 * GB, available_memory=GB // 2)
    with pytest.raises(PreflightError, match=r"needs 1 GB of free memory; 0\.5 GB are available"):
        preflight.require(host, Tier.T1, build=False, folder=PLACE)


def test_a_host_is_inspected_where_the_folder_will_be(tmp_path: Path) -> None:
    host = preflight.inspect(tmp_path / "not" / "yet" / "there")
    assert host.free_disk > 0
    assert host.available_memory > 0


def test_missing_packages_are_named_before_they_are_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    proof = tmp_path / "installed"
    apt = tmp_path / "apt-get"
    apt.write_text(f'#!/bin/sh\n[ "$1" = install ] && echo "$@" > {proof}\nexit 0\n')
    apt.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr("os.geteuid", lambda: 0)
    said: list[str] = []
    debian.ensure([Requirement("made-up-package", str(proof)), Requirement("present", "sh")], said.append)
    assert said == ["Debian packages to install: made-up-package"]
    assert "--no-install-recommends made-up-package" in proof.read_text()


def test_without_root_the_command_to_type_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.setattr("shutil.which", lambda name, path=None: "/usr/bin/apt-get" if name == "apt-get" else None)
    with pytest.raises(PackagesError, match="sudo apt-get install nftables"):
        debian.ensure([Requirement("nftables", "nft")], print)


def test_where_there_is_no_apt_the_missing_commands_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name, path=None: None)
    with pytest.raises(PackagesError, match="Missing: nft"):
        debian.ensure([Requirement("nftables", "nft")], print)


def test_nothing_is_said_when_nothing_is_missing() -> None:
    said: list[str] = []
    debian.ensure([Requirement("dash", "sh")], said.append)
    assert said == []


def test_what_is_found_among_the_programs_of_administrators_can_be_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "sbin" / "made-up-tool"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setattr(debian, "SBIN", (str(program.parent),))
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    debian.ensure([Requirement("made-up-package", "made-up-tool")], print)
    assert subprocess.run(["made-up-tool"], check=False).returncode == 0
    debian.reach_sbin()
    assert os.environ["PATH"] == f"/usr/bin:/bin:{program.parent}", "once"


def test_the_command_for_the_tests_tools_explains_what_it_cannot_do(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.setattr("shutil.which", lambda name, path=None: "/usr/bin/apt-get" if name == "apt-get" else None)
    assert cli.main(["tools"]) == 1
    assert "sudo apt-get install prometheus" in capsys.readouterr().err
