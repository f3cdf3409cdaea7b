"""Where a bucket may be, who asks it, and that no message gives away what proves who asks."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from aiohttp import ClientTimeout

from finetune_operator.cluster import bucket
from finetune_operator.cluster.bucketplace import BucketError, BucketPlace, Mode, Retention, credentials_in, credentials_of
from finetune_operator.cluster.sigv4 import Credentials

NOW = datetime(2026, 11, 26, 12, 0, tzinfo=UTC)
PLACE = BucketPlace("https://s3.example:443", "records", "lab/")


@pytest.mark.parametrize(
    ("endpoint", "addressing", "host", "path"),
    [
        ("https://s3.example", "path", "s3.example", "/records/k"),
        ("https://s3.example:443", "virtual", "records.s3.example", "/k"),
        ("http://[::1]:9000", "path", "[::1]:9000", "/records/k"),
        ("https://s3.example:8443/", "virtual", "records.s3.example:8443", "/k"),
    ],
)
def test_a_bucket_is_named_by_path_or_by_host(endpoint: str, addressing: str, host: str, path: str) -> None:
    place = BucketPlace(endpoint, "records", addressing=addressing)  # type: ignore[arg-type]
    assert (place.host, place.path("k")) == (host, path)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"endpoint": "s3.example"}, "the endpoint is http"),
        ({"endpoint": "https://user:word@s3.example"}, "without user"),
        ({"endpoint": "https://s3.example/path"}, "without user, path"),
        ({"bucket": "Records"}, "3 to 63 lower-case"),
        ({"prefix": "lab"}, "followed by a slash"),
        ({"prefix": "../"}, "followed by a slash"),
        ({"region": "eu west"}, "a region has"),
        ({"endpoint": "http://s3.example", "ca_file": Path("ca.pem")}, "need an https endpoint"),
    ],
)
def test_a_place_that_is_none_says_what_to_write(fields: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        BucketPlace(**{"endpoint": "https://s3.example", "bucket": "records", **fields})  # type: ignore[arg-type]


def test_credentials_are_read_from_a_mounted_secret_or_the_environment(tmp_path: Path) -> None:
    with pytest.raises(BucketError, match="access-key-id is not there"):
        credentials_in(tmp_path)
    (tmp_path / "access-key-id").write_text("AKID\n")
    (tmp_path / "secret-access-key").write_text("two\nlines\n")
    with pytest.raises(BucketError, match="secret-access-key does not hold visible characters in one line") as caught:
        credentials_in(tmp_path)
    assert "two" not in str(caught.value)
    (tmp_path / "secret-access-key").write_text("word")
    assert credentials_in(tmp_path) == Credentials("AKID", "word")
    (tmp_path / "session-token").write_text("token")
    assert credentials_in(tmp_path) == Credentials("AKID", "word", "token")
    with pytest.raises(BucketError, match="set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"):
        credentials_of({"AWS_ACCESS_KEY_ID": "AKID"})
    assert credentials_of({"AWS_ACCESS_KEY_ID": "AKID", "AWS_SECRET_ACCESS_KEY": "word"}) == Credentials("AKID", "word")


def test_a_servers_words_are_told_without_what_proves_who_asks() -> None:
    credentials = Credentials("AKIDAKID", "secretword", "tokenword")
    body = b"<Error><Code>Denied</Code><Message>AKIDAKID signed with secretword and tokenword</Message></Error>"
    said = str(bucket._refusal(PLACE, 403, body, credentials))
    assert said == "status 403 Denied: … signed with … and …"
    assert "redirects are not followed" in str(bucket._refusal(PLACE, 301, b"<html>", credentials))
    long = b"<Error><Code>C</Code><Message>" + b"x" * 10_000 + b"</Message></Error>"
    assert len(str(bucket._refusal(PLACE, 500, long, credentials))) < 400


@asynccontextmanager
async def server(answer: bytes | None) -> AsyncIterator[tuple[str, list[bytes]]]:
    """An address, and the first line of whatever is asked there; without an answer nobody gets one."""
    asked: list[bytes] = []
    over = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append((await reader.readuntil(b"\r\n\r\n")).split(b"\r\n")[0])
        if answer is None:
            await over.wait()
        else:
            writer.write(answer)
            await writer.drain()
        writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}", asked
    finally:
        over.set()
        listening.close()
        await listening.wait_closed()


async def refused(endpoint: str, seconds: float = 60) -> str:
    there = bucket.Bucket(BucketPlace(endpoint, "records"), lambda: Credentials("AKID", "word"), timeout=ClientTimeout(seconds))
    try:
        with pytest.raises(BucketError) as caught:
            await there.require_lock()
    finally:
        await there.close()
    return str(caught.value)


async def test_only_the_endpoint_is_dialled_whatever_it_and_the_environment_say(monkeypatch: pytest.MonkeyPatch) -> None:
    async with server(b"HTTP/1.1 200 OK\r\n\r\n") as (elsewhere, asked_there):
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "AWS_ENDPOINT_URL"):
            monkeypatch.setenv(name, elsewhere)
        there = elsewhere.encode()
        async with server(b"HTTP/1.1 307 Elsewhere\r\nLocation: " + there + b"/\r\nContent-Length: 0\r\n\r\n") as (endpoint, asked):
            assert "redirects are not followed" in await refused(endpoint)
    assert (asked, asked_there) == ([b"GET /records?object-lock= HTTP/1.1"], [])


async def test_a_server_that_hangs_or_says_too_much_is_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    async with server(None) as (endpoint, _):
        assert await refused(endpoint, 0.1) == f"no answer from {endpoint}: TimeoutError"
    monkeypatch.setattr(bucket, "BODY_LIMIT", 1000)
    async with server(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 1001) as (endpoint, _):
        assert await refused(endpoint) == "the answer is larger than 1000 bytes"


def test_a_retention_holds_what_is_at_least_as_strict() -> None:
    asked = Retention.from_now(Mode.GOVERNANCE, NOW, 3)
    assert asked.holds(asked)
    assert Retention(Mode.COMPLIANCE, asked.until).holds(asked)
    assert not Retention(Mode.GOVERNANCE, asked.until - timedelta(seconds=1)).holds(asked)
    assert not asked.holds(Retention(Mode.COMPLIANCE, asked.until))


def test_a_document_that_declares_entities_is_no_answer() -> None:
    laughs = (
        b'<!DOCTYPE a [<!ENTITY x "'
        + b"x" * 100
        + b'">'
        + b"".join(b'<!ENTITY y%d "%b">' % (n, (b"&y%d;" % (n - 1) if n else b"&x;") * 10) for n in range(9))
    )
    with pytest.raises(BucketError, match="not what an S3 server says"):
        bucket._document(laughs + b"]><a>&y8;</a>")
