"""A testbed is remembered under its name, with ports and addresses of its own."""

from dataclasses import astuple, replace
from pathlib import Path

import pytest

from finetune_testbed import state
from finetune_testbed.bed import Settings, Subnets, Tier
from finetune_testbed.state import StateError


def test_what_was_stored_is_loaded(tmp_path: Path) -> None:
    settings = Settings(tier=Tier.T2, fake_nodes=3, apiserver_flags=("--v=2",))
    bed = state.create("one", settings, tmp_path)
    assert state.load("one", tmp_path) == bed
    changed = state.with_settings(bed, replace(settings, tier=Tier.T3))
    assert state.load("one", tmp_path) == changed
    assert state.names(tmp_path) == ["one"]


def test_an_unknown_name_is_no_testbed(tmp_path: Path) -> None:
    assert state.load("nobody", tmp_path) is None
    assert state.names(tmp_path) == []


def test_two_testbeds_share_neither_port_nor_address(tmp_path: Path) -> None:
    one, other = (state.create(name, Settings(), tmp_path) for name in ("one", "other"))
    assert not one.subnets.everything.overlaps(other.subnets.everything)
    assert len(set(astuple(one.ports))) == len(astuple(one.ports))
    assert one.link_name != other.link_name


def test_a_removed_testbeds_addresses_are_free_again(tmp_path: Path) -> None:
    one = state.create("one", Settings(), tmp_path)
    state.remove(one)
    assert not one.state_dir.exists()
    assert state.create("two", Settings(), tmp_path).subnets == one.subnets


@pytest.mark.parametrize("name", ["", "Upper", "1st", "a_b", "-a", "a-", "a" * 21, "../up", "a/b"])
def test_a_name_that_cannot_be_one_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(StateError, match="1-20 lower-case"):
        state.create(name, Settings(), tmp_path)


def test_the_ranges_of_a_testbed_do_not_overlap_each_other() -> None:
    for slot in range(state.SLOTS):
        subnets = Subnets(slot)
        ranges = [subnets.pods, subnets.services, subnets.link]
        assert all(subnets.everything.supernet_of(each) for each in ranges)
        assert not any(one.overlaps(other) for one in ranges for other in ranges if one is not other)


def test_state_goes_where_the_user_may_write(monkeypatch: pytest.MonkeyPatch) -> None:
    assert state.state_root({"FINETUNE_TESTBED_STATE": "/s"}) == Path("/s")
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert state.state_root({"XDG_STATE_HOME": "/x"}) == Path("/x/finetune-testbed")
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert state.state_root({}) == Path("/var/lib/finetune-testbed")


def test_ports_of_a_testbed_that_does_not_run_are_not_given_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("random.sample", lambda ports, count: list(ports))  # both look at the same ports first
    one, other = (state.create(name, Settings(), tmp_path) for name in ("one", "other"))
    assert not set(astuple(one.ports)) & set(astuple(other.ports))
