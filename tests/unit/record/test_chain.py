"""A chain shows what was taken out, put in, moved or changed, and a checkpoint what was cut off or written anew."""

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from finetune_record.chain import Checkpoint, Entry, checkpoint, entry_name, flaws, next_link, unmet
from tests.unit.record.examples import NOW, digest

KEY_ID = "0f" * 32


def chain(length: int, salt: str = "") -> list[Entry]:
    entries: list[Entry] = []
    for seq in range(1, length + 1):
        link = next_link("clinic", entries[-1] if entries else None, NOW + timedelta(minutes=seq), KEY_ID)
        entries.append(Entry(link, digest(f"{salt}{seq}"), entry_name("clinic", seq)))
    return entries


def told(entries: list[Entry]) -> list[str]:
    return [str(problem) for problem in flaws(entries)]


def test_a_whole_chain_has_no_flaws() -> None:
    assert told([]) == []
    assert told(chain(9)) == []


def test_each_flaw_is_named() -> None:
    whole = chain(6)
    assert told(whole[1:]) == ["clinic-00000002: record 1 is missing before record 2"]
    assert told(whole[:2] + whole[4:]) == ["clinic-00000005: records 3 to 4 are missing before record 5"]
    assert told([*whole[:3], whole[2], *whole[3:]]) == ["clinic-00000003: record 3 is there twice, also as clinic-00000003"]
    assert told([*whole[:2], whole[3], whole[2], *whole[4:]]) == ["clinic-00000003: record 3 comes after record 4: their order was changed"]
    changed = Entry(whole[2].link, digest("another"), whole[2].where)
    assert told([*whole[:2], changed, *whole[3:]]) == [
        f"clinic-00000004: predicate.chain.prev of record 4 is {whole[2].digest}, and record 3 is {changed.digest}"
    ]
    assert "clinic-00000003: record 3 exists in two versions (a fork), also as clinic-00000003" in told([*whole[:3], changed, *whole[3:]])
    early = Entry(whole[3].link.model_copy(update={"recorded_at": NOW}), whole[3].digest, whole[3].where)
    assert told([*whole[:3], early, *whole[4:]]) == ["clinic-00000004: predicate.chain.recordedAt is before that of record 3"]
    first = Entry(whole[0].link.model_copy(update={"prev": digest("0")}), whole[0].digest, whole[0].where)
    assert told([first, *whole[1:]]) == [f"clinic-00000001: predicate.chain.prev of record 1 is {digest('0')}, and record 0 is none"]


def test_a_checkpoint_shows_a_removed_end_and_a_rewritten_chain() -> None:
    whole = chain(5)
    points = [("anchor-3", checkpoint(whole[2], NOW, KEY_ID)), ("anchor-5", checkpoint(whole[4], NOW, KEY_ID))]
    assert unmet(points, whole) == []
    assert [str(problem) for problem in unmet(points, whole[:3])] == [
        "anchor-5: record 5 existed at 2026-11-26 12:00:00Z, and the chain ends at 3: its end was removed"
    ]
    assert [problem.where for problem in unmet(points, [*whole[:2], *whole[3:]])] == ["anchor-3"]
    assert flaws(chain(5, "other")) == []
    assert [problem.where for problem in unmet(points, chain(5, "other"))] == ["anchor-3", "anchor-5"]


def test_a_checkpoint_has_one_spelling() -> None:
    point = checkpoint(chain(2)[1], NOW, KEY_ID)
    assert Checkpoint.from_json(point.to_payload()) == point


@given(st.integers(2, 12), st.data())
def test_no_entry_goes_or_moves_unseen(length: int, data: st.DataObject) -> None:
    whole = chain(length)
    taken = data.draw(st.integers(0, length - 2))
    assert flaws(whole[:taken] + whole[taken + 1 :])
    place = data.draw(st.integers(0, length - 1).filter(lambda place: place != taken))
    moved = whole[:taken] + whole[taken + 1 :]
    moved.insert(place, whole[taken])
    assert flaws(moved)
