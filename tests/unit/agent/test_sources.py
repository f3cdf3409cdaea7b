"""What is wanted is read from a file as often as it changes, and never half."""

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from finetune_inference.agent.backoff import Backoff
from finetune_inference.agent.sources import FileSource, LastGood, SourceAway, parse
from finetune_inference.contract import DesiredSet, DesiredVersion
from tests.unit.agent.worlds import desired, version


async def test_a_file_is_read_at_the_start_when_it_changes_and_when_it_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "desired.json"
    changes = FileSource(path, seconds=0.001).changes()
    assert isinstance(await anext(changes), SourceAway)
    for generation in (1, 2):
        fresh = tmp_path / "fresh"
        fresh.write_text(desired(version(1), generation=generation).to_json(), encoding="utf-8")
        fresh.rename(path)
        assert await anext(changes) == desired(version(1), generation=generation)
    path.write_text('{"generation": 3', encoding="utf-8")
    assert isinstance(await anext(changes), SourceAway)


async def test_a_mounted_config_map_that_is_swapped_by_its_link_is_a_change(tmp_path: Path) -> None:
    for generation in (1, 2):
        (tmp_path / f"data-{generation}").mkdir()
        (tmp_path / f"data-{generation}" / "desired.json").write_text(desired(version(1), generation=generation).to_json())
    (tmp_path / "..data").symlink_to(tmp_path / "data-1")
    (tmp_path / "desired.json").symlink_to("..data/desired.json")
    changes = FileSource(tmp_path / "desired.json", seconds=0.001).changes()
    assert await anext(changes) == desired(version(1), generation=1)
    (tmp_path / "..new").symlink_to(tmp_path / "data-2")
    (tmp_path / "..new").replace(tmp_path / "..data")
    assert await anext(changes) == desired(version(1), generation=2)


def test_an_unreadable_set_names_the_field_and_no_value() -> None:
    document = json.loads(desired(version(1)).to_json())
    document["versions"][0]["digest"] = "sha256:hidden"
    found = parse(json.dumps(document).encode())
    assert isinstance(found, SourceAway)
    assert found.message.startswith("versions.0.digest: ")
    assert "hidden" not in found.message


def test_the_last_good_set_outlives_the_process_and_a_torn_one_counts_as_none(tmp_path: Path) -> None:
    kept = LastGood(tmp_path / "state" / "desired.json")
    assert kept.read() is None
    kept.write(desired(version(1)))
    assert LastGood(tmp_path / "state" / "desired.json").read() == desired(version(1))
    (tmp_path / "state" / "desired.json").write_text("{", encoding="utf-8")
    assert kept.read() is None


def test_a_name_that_does_not_carry_its_digest_is_no_version() -> None:
    with pytest.raises(ValidationError, match="does not end in the first digits"):
        DesiredVersion(name=version(1).name, uri="pvc://a/b", digest=version(2).digest)


def test_two_versions_of_one_name_are_no_set() -> None:
    with pytest.raises(ValidationError, match="twice"):
        desired(version(1), version(1))


def test_a_set_says_the_same_after_a_round_trip() -> None:
    assert DesiredSet.from_json(desired(version(1), version(2)).to_json()) == desired(version(1), version(2))


class _Middle:
    def uniform(self, low: float, high: float) -> float:
        return high


def test_waits_double_to_a_cap_and_what_a_person_must_change_is_tried_rarely() -> None:
    backoff, rng = Backoff(passing=(1.0, 8.0), lasting=(15.0, 60.0)), _Middle()
    passing = [backoff.wait(count, rng, passing=True).total_seconds() for count in range(1, 6)]  # type: ignore[arg-type]
    lasting = [backoff.wait(count, rng, passing=False).total_seconds() for count in range(1, 5)]  # type: ignore[arg-type]
    assert passing == [1.0, 2.0, 4.0, 8.0, 8.0]
    assert lasting == [15.0, 30.0, 60.0, 60.0]
    assert backoff.wait(10**6, rng, passing=True).total_seconds() == 8.0  # type: ignore[arg-type]
