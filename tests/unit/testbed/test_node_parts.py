"""What the node leaves alone on the host, and what it mends after an interruption."""

import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from finetune_testbed import state
from finetune_testbed.bed import Settings, Testbed, Tier
from finetune_testbed.node import containerd, mounts, network
from finetune_testbed.node.layout import NodeLayout


@contextlib.contextmanager
def inside(folder: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def test_only_sockets_of_dead_shims_are_removed(tmp_path: Path) -> None:
    """Names that /proc/net/unix does not show, as those of another network namespace: here they are relative to a folder."""
    folder = tmp_path / "s"
    folder.mkdir()
    with socket.socket(socket.AF_UNIX) as living, socket.socket(socket.AF_UNIX) as full, inside(folder):
        living.bind("living")
        living.listen(5)
        full.bind("full")
        full.listen(0)
        with socket.socket(socket.AF_UNIX) as waits, socket.socket(socket.AF_UNIX) as dead:
            waits.connect("full")  # one may wait; the next is told to come again
            dead.bind("dead")
            dead.listen()
            dead.close()
            containerd._remove_dead_shim_sockets(folder)
    assert sorted(path.name for path in folder.iterdir()) == ["full", "living"]


class Links:
    """The host's links, as `ip` changes them; fails at a chosen command, as an interruption would."""

    def __init__(self) -> None:
        self.present = False
        self.commands: list[str] = []
        self.fails_at = ""

    def run(self, *command: str) -> None:
        line = " ".join(command)
        if self.fails_at and self.fails_at in line:
            raise KeyboardInterrupt
        self.commands.append(line)
        if "link add" in line:
            assert not self.present, "File exists"
            self.present = True
        if "link delete" in line:
            self.present = False


@pytest.fixture
def bed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Testbed:
    made = state.create("one", Settings(tier=Tier.T3), tmp_path / "state")
    made.node_dir.mkdir()
    monkeypatch.setattr(mounts, "is_mounted", lambda _: True)
    return made


@pytest.fixture
def links(monkeypatch: pytest.MonkeyPatch) -> Links:
    made = Links()
    monkeypatch.setattr(network, "_run", made.run)
    monkeypatch.setattr(network, "_has_link", lambda _: made.present)
    return made


@pytest.mark.parametrize("step", ["link add", "ip address add", "link set lo up", "unreachable", "ip_forward"])
def test_a_link_that_was_half_set_up_is_set_up_again(bed: Testbed, links: Links, step: str) -> None:
    layout = NodeLayout(bed)
    links.fails_at = step
    with pytest.raises(KeyboardInterrupt):
        network.ensure(layout)
    assert network.problem(layout)
    links.fails_at = ""
    links.commands.clear()
    network.ensure(layout)
    assert any("link add" in command for command in links.commands)
    assert any("ip_forward" in command for command in links.commands)


def test_a_link_that_is_set_up_stays_as_it_is(bed: Testbed, links: Links) -> None:
    layout = NodeLayout(bed)
    network.ensure(layout)
    links.commands.clear()
    network.ensure(layout)
    assert [command for command in links.commands if "route replace" not in command] == []


def test_a_link_lost_with_a_reboot_in_the_middle_of_its_second_set_up_is_set_up_again(bed: Testbed, links: Links) -> None:
    layout = NodeLayout(bed)
    network.ensure(layout)
    links.present, links.fails_at = False, "unreachable"
    with pytest.raises(KeyboardInterrupt):
        network.ensure(layout)
    assert "interrupted" in str(network.problem(layout))
