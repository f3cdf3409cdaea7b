"""A server that takes a retention and forgets it, as some do that do not know the word; those that keep it are tried for real."""

import asyncio
from datetime import timedelta

import pytest

from finetune_operator.cluster.bucketplace import BucketPlace, Mode, ObjectVersion, Retention
from finetune_operator.control.bucketanchor import BucketAnchor
from finetune_operator.control.chains import Chains
from finetune_operator.domain.plan import EventNote
from finetune_record import chain, keys
from tests.unit.domain.registry import Silent
from tests.unit.record.examples import KEY, NOW, digest


class Forgetful:
    """``kept`` is what it says about a retention."""

    def __init__(self, kept: Retention | None) -> None:
        self.place = BucketPlace("https://s3.example", "anchors")
        self.kept = kept
        self.taken: list[str] = []

    async def require_lock(self) -> None: ...

    async def create(self, key: str, body: bytes, retention: Retention) -> str:
        self.taken.append(key)
        return "v1"

    async def retention(self, key: str, version: str) -> Retention | None:
        return self.kept

    async def read(self, key: str, version: str) -> bytes:
        raise AssertionError

    async def versions(self, prefix: str) -> list[ObjectVersion]:
        return []


@pytest.mark.parametrize(
    "kept",
    [
        None,
        Retention(Mode.GOVERNANCE, NOW + timedelta(days=30)),
        Retention(Mode.COMPLIANCE, NOW + timedelta(days=29)),
    ],
    ids=["none", "a weaker mode", "shorter"],
)
async def test_an_object_that_is_not_kept_as_asked_anchors_nothing(kept: Retention | None) -> None:
    bucket, measures, notes = Forgetful(kept), Silent(), list[EventNote]()
    chains = Chains({keys.key_id(KEY.public_key()): KEY.public_key()})
    head = chain.Entry(chain.next_link("clinic", None, NOW, keys.key_id(KEY.public_key())), digest("a record"), "clinic-00000001")
    seen = chain.checkpoint(head, NOW, head.link.key_id)
    chains.checkpoints._known["elsewhere", "clinic-00000001"] = seen
    told = asyncio.Event()

    async def tell(_head: chain.Entry, note: EventNote) -> None:
        notes.append(note)
        told.set()

    anchor = BucketAnchor(bucket, chains, KEY, mode=Mode.COMPLIANCE, days=30, every=1, measures=measures, tell=tell, now=lambda: NOW)
    running = asyncio.create_task(anchor.run())
    await asyncio.wait_for(told.wait(), 60)
    running.cancel()
    assert bucket.taken == ["clinic/clinic-00000001.json"]
    assert "does not keep it as asked, so that it can be removed" in notes[0].message
    assert dict(anchor.gaps()) == {"clinic": 1.0}
    assert "anchored bucket kept" not in measures.counts
