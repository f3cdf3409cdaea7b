"""Checkpoints in a bucket with object lock, on a real S3 server: what it keeps from whom, what an outage does, what a copy proves."""

import asyncio
import base64
import hashlib
import shutil
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from finetune_cli.main import main
from finetune_operator.cluster.backoff import Backoff
from finetune_operator.cluster.bucket import Bucket
from finetune_operator.cluster.bucketplace import BucketError, BucketPlace, Mode, NoObjectLock, NoSuchBucket, Retention
from finetune_operator.cluster.sigv4 import Credentials
from finetune_operator.control.bucketanchor import BucketAnchor
from finetune_operator.control.chains import Chains
from finetune_operator.domain.plan import EventNote
from finetune_record import chain, keys
from tests.engines import objectstore
from tests.engines.objectstore import CREDENTIALS, ObjectStore
from tests.unit.domain.registry import Silent
from tests.unit.record.examples import KEY
from tests.unit.record.published import Place, items_of, publish, rewrite_items

pytestmark = pytest.mark.skipif(objectstore.PROGRAM is None, reason=objectstore.MISSING)

PATIENCE = 60.0
PREFIX = "lab/"
TRUSTED = {keys.key_id(KEY.public_key()): KEY.public_key()}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectStore]:
    with objectstore.object_store(tmp_path_factory.mktemp("bucket") / "store") as made:
        yield made


@pytest.fixture
async def name(store: ObjectStore) -> str:
    """A new bucket with object lock."""
    bucket = f"records-{uuid.uuid4().hex[:8]}"
    await store.make(bucket)
    return bucket


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """An adapter whose record is the fourth of six."""
    return publish(tmp_path / "published")


def chains_of(place: Place, length: int = 100) -> Chains:
    """What an operator reads of the first records of this chain when it starts."""
    chains = Chains(TRUSTED)
    learn(chains, items_of(place.chain)[:length])
    return chains


def learn(chains: Chains, items: list[dict[str, Any]]) -> None:
    """What a watch brings."""
    for item in items:
        chains.put({**item, "metadata": {**item["metadata"], "uid": "u", "resourceVersion": "1"}})


class Anchored:
    """An anchor that runs, with what it has counted and told."""

    def __init__(self, bucket: Bucket, chains: Chains, every: int, days: int) -> None:
        self.bucket, self.chains, self.measures = bucket, chains, Silent()
        self.notes: list[EventNote] = []
        self.anchor = BucketAnchor(
            bucket,
            chains,
            KEY,
            mode=Mode.COMPLIANCE,
            days=days,
            every=every,
            measures=self.measures,
            tell=self._note,
            delays=Backoff(0.05, 0.2),
        )

    async def _note(self, head: chain.Entry, note: EventNote) -> None:
        self.notes.append(note)

    def count(self, result: str) -> int:
        return self.measures.counts.get(f"anchored bucket {result}", 0)

    async def counted(self, result: str, least: int = 1) -> None:
        await until(lambda: self.count(result) >= least)

    @property
    def gap(self) -> float:
        return dict(self.anchor.gaps())["clinic"]


async def until(look: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not look():  # noqa: ASYNC110 - what is looked at is counters, which wake nobody
            await asyncio.sleep(0.01)


@asynccontextmanager
async def anchored(bucket: Bucket, chains: Chains, every: int = 2, days: int = 3) -> AsyncIterator[Anchored]:
    made = Anchored(bucket, chains, every, days)
    running = asyncio.create_task(made.anchor.run())
    try:
        yield made
    finally:
        running.cancel()
        await bucket.close()


async def copy_out(store: ObjectStore, name: str, to: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    for variable, value in objectstore.ENVIRONMENT.items():
        monkeypatch.setenv(variable, value)
    where = ("--endpoint", store.endpoint, "--ca", str(store.ca), "--namespace", "clinic", "--to", str(to))
    return await asyncio.to_thread(main, ["anchors", f"s3://{name}/{PREFIX}", *where])


def verify(place: Place, anchors: Path) -> int:
    return main(["verify", str(place.adapter), "--key", str(place.key), "--chain", str(place.chain), "--anchor", str(anchors)])


async def test_a_checkpoint_is_written_once_and_is_kept_from_whoever_has_the_operators_credentials(
    store: ObjectStore, name: str, place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async with anchored(store.bucket(name, PREFIX), chains_of(place)) as made:
        await made.counted("kept")
        assert (made.gap, made.notes, made.count("failed")) == (0, [], 0)
        (one,) = await made.bucket.versions("")
        assert one.key == "lab/clinic/clinic-00000006.json"
        kept = await made.bucket.retention(one.key, one.version)
        assert kept is not None
        assert kept.mode is Mode.COMPLIANCE
        assert kept.until > datetime.now(UTC) + timedelta(days=2, hours=23)
        path, version = f"/{name}/{one.key}", {"versionId": one.version}
        refused, why = await store.ask("DELETE", path, version)
        assert (refused, "object lock" in why) == (403, True)
        tomorrow = (datetime.now(UTC) + timedelta(days=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
        shorter = f"<Retention><Mode>GOVERNANCE</Mode><RetainUntilDate>{tomorrow}</RetainUntilDate></Retention>".encode()
        digest = {"content-md5": base64.b64encode(hashlib.md5(shorter).digest()).decode()}
        refused, why = await store.ask("PUT", path, {"retention": "", **version}, digest, shorter)
        assert (refused, "object lock" in why) == (403, True)
        assert (await store.ask("DELETE", f"/{name}"))[0] == 409
        assert (await store.ask("PUT", path, headers={"if-none-match": "*"}, body=b"{}"))[0] == 412
        assert (await copy_out(store, name, tmp_path / "clean", monkeypatch)) == 0
        # What the server does let him do hides it, and takes nothing away.
        assert (await store.ask("PUT", path, body=b'{"payload": "", "signatures": []}'))[0] == 200
        assert (await copy_out(store, name, tmp_path / "over", monkeypatch)) == 1
        assert f"! {one.key} has more than one version" in capsys.readouterr().out
        assert verify(place, tmp_path / "over") == 1
        assert "clinic-00000006.2" in capsys.readouterr().out
        assert (await store.ask("DELETE", path))[0] == 204
        assert len(await made.bucket.versions("")) == 3
    assert (await copy_out(store, name, tmp_path / "after", monkeypatch)) == 1
    said = capsys.readouterr().out
    assert f"clinic-00000006.1.json  version {one.version}, written" in said
    assert "COMPLIANCE until" in said
    assert f"! {one.key} was said to be deleted" in said
    first = "clinic-00000006.1.json"
    assert (tmp_path / "after" / first).read_bytes() == (tmp_path / "clean" / first).read_bytes()
    assert verify(place, tmp_path / "after" / first) == 0


async def test_an_outage_is_a_gap_that_the_next_checkpoint_closes(
    store: ObjectStore, name: str, place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    chains, items = chains_of(place, 2), items_of(place.chain)
    async with anchored(store.bucket(name, PREFIX), chains) as made:
        await made.counted("kept")
        for outage, come in enumerate((items[2:4], items[4:6]), start=1):
            with store.away():
                failed = made.count("failed")
                for item in come:
                    learn(chains, [item])
                    head = chains.head("clinic")
                    assert head is not None
                    assert await made.anchor.keep(head) is False
                await made.counted("failed", failed + 2)
                assert made.gap == 2
            await made.counted("kept", 1 + outage)
            await until(lambda: len(made.notes) == 2 * outage)  # noqa: B023 - looked at within the round
            assert made.gap == 0
        assert [one.key[-13:] for one in await made.bucket.versions("")] == ["00000002.json", "00000004.json", "00000006.json"]
    gap, closed = made.notes[2:]
    assert (gap.type, gap.reason) == ("Warning", "RecordsNotAnchored")
    assert "no checkpoint of record 6" in gap.message
    assert "no answer from https://127.0.0.1" in gap.message
    assert (closed.type, closed.reason) == ("Normal", "RecordsAnchored")
    assert "record 6" in closed.message
    assert "does not take the head of clinic" in caplog.text


async def test_what_is_no_such_bucket_says_which_and_no_secret(store: ObjectStore, name: str, place: Place, tmp_path: Path) -> None:
    await store.make("plain-bucket", locked=False)
    thief = Credentials("AKIASOMEBODYELSE", "an0ther/secret")
    trusting = store.place(name)
    cases: list[tuple[Bucket, type[BucketError], str]] = [
        (store.bucket("plain-bucket"), NoObjectLock, "bucket plain-bucket has no object lock"),
        (store.bucket("no-such-bucket"), NoSuchBucket, "there is no bucket no-such-bucket at https://127.0.0.1"),
        (Bucket(trusting, lambda: thief), BucketError, "no user exists"),
        (Bucket(trusting, lambda: Credentials(CREDENTIALS.access_key_id, "wrong")), BucketError, "SignatureDoesNotMatch"),
        (Bucket(BucketPlace(store.endpoint, name), lambda: CREDENTIALS), BucketError, "name the authority that signed it"),
    ]
    for bucket, kind, said in cases:
        async with anchored(bucket, chains_of(place)) as made:
            with pytest.raises(kind) as caught:
                await made.anchor.open()
            assert said.lower() in str(caught.value).lower()
            await made.counted("failed")
            assert made.gap == 6
        told = str(caught.value) + "".join(note.message for note in made.notes)
        assert not any(secret in told for secret in (CREDENTIALS.secret_access_key, thief.secret_access_key, thief.access_key_id))
    # Not even one that it were told to write to.
    plain = store.bucket("plain-bucket")
    with pytest.raises(BucketError):
        await plain.create("k", b"{}", Retention.from_now(Mode.COMPLIANCE, datetime.now(UTC), 1))
    await plain.close()


async def test_a_key_that_somebody_took_is_a_gap_until_the_next_record(store: ObjectStore, name: str, place: Place) -> None:
    chains = chains_of(place, 2)
    assert (await store.ask("PUT", f"/{name}/lab/clinic/clinic-00000002.json", body=b"{}"))[0] == 200
    async with anchored(store.bucket(name, PREFIX), chains) as made:
        await made.counted("failed")
        assert "vouches for something else: find out who wrote it" in made.notes[0].message
        assert made.gap == 2
        learn(chains, items_of(place.chain)[2:3])
        await made.counted("kept")
        assert made.gap == 0
        assert [one.key[-13:] for one in await made.bucket.versions("")] == ["00000002.json", "00000003.json"]


async def test_what_a_bucket_knows_is_told_when_it_answers_at_last(
    store: ObjectStore, name: str, place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    async with anchored(store.bucket(name, PREFIX), chains_of(place)) as made:
        await made.counted("kept")
    async with anchored(store.bucket(name, PREFIX), chains_of(place, 4)) as shorter:
        with store.away():
            await shorter.counted("failed")
            assert shorter.chains.flaws("clinic") == []
        await until(lambda: len(shorter.chains.flaws("clinic")) == 1)
        await until(lambda: shorter.gap == 0)
    assert "record 6 existed at" in caplog.text


async def test_another_process_goes_on_from_what_lies_there(store: ObjectStore, name: str, place: Place) -> None:
    async with anchored(store.bucket(name, PREFIX), chains_of(place, 2)) as first:
        await first.counted("kept")
        (left,) = await first.bucket.versions("")
        # As after a crash between the answer and the note of it: the key is taken, by this very head.
        first.anchor._newest.clear()
        head = first.chains.head("clinic")
        assert head is not None
        await first.anchor.keep(head)
        await first.counted("kept", 2)
        assert await first.bucket.versions("") == [left]
    async with anchored(store.bucket(name, PREFIX), chains_of(place, 3)) as second:
        await second.anchor.open()
        assert second.chains.flaws("clinic") == []
        assert second.gap == 0
        assert await second.bucket.versions("") == [left], "one record more is not yet time for another"


async def test_a_chain_that_does_not_meet_the_bucket_is_named_at_the_start_and_by_verify(
    store: ObjectStore, name: str, place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for length in (2, 4, 6):
        async with anchored(store.bucket(name, PREFIX), chains_of(place, length)) as made:
            await made.counted("kept")
    anchors = tmp_path / "anchors"
    assert (await copy_out(store, name, anchors, monkeypatch)) == 0
    assert verify(place, anchors) == 0
    assert "3 anchored heads" in capsys.readouterr().out
    whole = items_of(place.chain)
    rewritten = publish(tmp_path / "again", justification="Another story")
    tampered = {
        "record 6 existed at": whole[:5],
        "it was rewritten": items_of(rewritten.chain),
        "and the chain has none of this number": [*whole[:1], *whole[2:]],
    }
    for said, items in tampered.items():
        folder = tmp_path / "tampered"
        shutil.copytree(place.root if said != "it was rewritten" else rewritten.root, folder)
        there = Place(folder, place.hex)
        rewrite_items(there.chain, items)
        assert verify(there, anchors) == 1
        assert said in " ".join(capsys.readouterr().out.split())
        if "none of this number" not in said:  # of a chain the newest checkpoint tells, and a gap is told by the chain itself
            async with anchored(store.bucket(name, PREFIX), chains_of(there)) as started:
                await started.anchor.open()
                assert any(said in problem.message for problem in started.chains.flaws("clinic"))
        shutil.rmtree(folder)
