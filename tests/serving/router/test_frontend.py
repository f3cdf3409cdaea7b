"""Who may ask what, and how much of it."""

import asyncio
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from finetune_inference.router.credentials import digest
from finetune_inference.router.messages import Credentials
from tests.engines.processes import ALIAS, CANARY, STABLE
from tests.engines.synthetic import Behaviour
from tests.serving.router.desk import Desk, desk, until

BODY = json.dumps({"model": ALIAS}).encode()


def request(line: str, body: bytes = BODY, *headers: str) -> bytes:
    head = "".join(f"{header}\r\n" for header in ("Host: router", f"Content-Length: {len(body)}", "Connection: close", *headers))
    return f"{line} HTTP/1.1\r\n{head}\r\n".encode() + body


def status_of(reply: bytes) -> int:
    return int(reply.split(b" ", 2)[1]) if reply.startswith(b"HTTP/1.") else 0


async def is_well(here: Desk) -> bool:
    return (await here.status())[0] == 200


PATHS = [
    "/v1/load_lora_adapter",
    "/v1/unload_lora_adapter",
    "/v1/chat/completions/",
    "//v1/chat/completions",
    "/v1//chat/completions",
    "/v1/chat/../load_lora_adapter",
    "/v1/completions/../load_lora_adapter",
    "/v1/chat%2fcompletions",
    "/v1/%63hat/completions",
    "/v1/completions%00",
    "/v1/completions;a=b",
    "/V1/completions",
    "/v1/models/base",
    "/v1/embeddings",
    "/metrics",
    "/tokenize",
    "/",
    "*",
    "http://other/v1/load_lora_adapter",
    "http://other/v1/completions",
    "\\v1\\completions",
]


@pytest.mark.parametrize("method", ["POST", "GET"])
async def test_no_other_path_is_ever_forwarded(tmp_path, method):
    async with desk(tmp_path) as here:
        for path in PATHS:
            assert status_of(await here.raw(request(f"{method} {path}"))) in (400, 404), path
        assert here.engine.paths == {}


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "HEAD", "CONNECT", "TRACE", "BREW"])
async def test_no_other_method_is_ever_forwarded(tmp_path, method):
    async with desk(tmp_path) as here:
        for path in ("/v1/chat/completions", "/v1/completions", "/v1/models", "/v1/load_lora_adapter"):
            assert status_of(await here.raw(request(f"{method} {path}"))) in (0, 400, 404), path
        assert here.engine.paths == {}


async def test_a_query_is_not_forwarded(tmp_path):
    async with desk(tmp_path) as here:
        assert status_of(await here.raw(request("POST /v1/completions?a=/v1/load_lora_adapter"))) == 200
        assert here.engine.paths == {"POST /v1/completions": 1}


async def test_refusals_have_the_shape_that_clients_read(tmp_path):
    async with desk(tmp_path) as here:
        async with here.client.get(f"{here.url}/v1/embeddings") as reply:
            error = (await reply.json())["error"]
        assert error.keys() == {"message", "type", "param", "code"}
        assert here.count("refused_total", code="unknown_url") == 1


async def test_models_are_the_aliases(tmp_path):
    async with desk(tmp_path) as here, here.client.get(f"{here.url}/v1/models") as reply:
        assert [model["id"] for model in (await reply.json())["data"]] == [ALIAS]


@pytest.mark.parametrize("path", ["/health", "/healthz", "/readyz"])
async def test_probes_need_no_key(tmp_path, path):
    async with desk(tmp_path) as here:
        here.frontend.credentials = Credentials(required=True)
        async with here.client.get(here.url + path) as reply:
            assert reply.status == 200


async def test_a_version_is_not_asked_for_by_its_name(tmp_path):
    async with desk(tmp_path) as here:
        assert (await here.status(model=STABLE))[0] == 404
        assert (await here.status(model="base"))[0] == 404
        assert here.engine.asked == {}


async def test_callers_need_a_key_when_keys_are_configured(tmp_path):
    async with desk(tmp_path) as here:
        here.frontend.credentials = Credentials(required=True, keys=(digest("key-a"), digest("key-b")))
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "key-a"}, {"Authorization": f"Bearer {digest('key-a')}"}):
            status, body, _ = await here.status(headers=headers)
            assert (status, body["error"]["code"]) == (401, "invalid_api_key")
            async with here.client.get(f"{here.url}/v1/models", headers=headers) as reply:
                assert reply.status == 401
        assert here.engine.asked == {}
        assert (await here.status(headers={"Authorization": "Bearer key-b"}))[0] == 200


async def test_a_version_is_pinned_with_the_operators_token_only(tmp_path):
    async with desk(tmp_path) as here:
        here.frontend.credentials = Credentials(required=True, keys=(digest("key"),), pin_token=digest("pin"))
        key = {"Authorization": "Bearer key"}
        for headers in (
            {"x-adapter-version": CANARY},
            {"x-adapter-version": CANARY, "x-adapter-pin-token": "wrong"},
            {"x-adapter-version": CANARY, "x-adapter-pin-token": ""},
            {"x-adapter-version": "tickets--cccccccccccc", "x-adapter-pin-token": "pin"},
            {"x-adapter-version": "", "x-adapter-pin-token": "pin"},
        ):
            status, body, _ = await here.status(headers=headers | key)
            assert (status, body["error"]["code"]) == (403, "pin_refused"), headers
        assert here.engine.asked == {}
        assert (await here.status(headers={"x-adapter-version": CANARY, "x-adapter-pin-token": "pin"}))[::2] == (200, CANARY)
        await until(lambda: here.outcomes(CANARY, "probe") == {"ok": 1})
        await until(lambda: here.outcomes(CANARY) == {})


async def test_a_pinned_version_has_no_stand_in(tmp_path):
    async with desk(tmp_path) as here:
        here.frontend.credentials = Credentials(pin_token=digest("pin"))
        here.hold(0, STABLE)
        assert (await here.status(headers={"x-adapter-version": CANARY, "x-adapter-pin-token": "pin"}))[0] == 503
        await until(lambda: here.outcomes(CANARY, "probe") == {"error": 1})


async def test_a_body_that_is_too_long_is_refused_however_it_is_announced(tmp_path):
    async with desk(tmp_path, max_body=10_000) as here:
        long = json.dumps({"model": ALIAS, "prompt": "x" * 10_000}).encode()
        assert status_of(await here.raw(request("POST /v1/completions", long))) == 413
        chunked = b"POST /v1/completions HTTP/1.1\r\nHost: r\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
        assert status_of(await here.raw(chunked, f"{len(long):x}\r\n".encode() + long + b"\r\n0\r\n\r\n")) == 413
        assert here.engine.asked == {}
        assert await is_well(here)


async def test_a_body_of_full_size_is_forwarded(tmp_path):
    async with desk(tmp_path) as here:
        filling = "x" * (here.frontend.admission.options.max_body - 100)
        assert (await here.status(messages=[filling]))[0] == 200
        assert here.frontend.admission.bytes_held == 0


async def test_bodies_together_are_bounded(tmp_path):
    async with desk(tmp_path, [Behaviour(versions=[STABLE], first_token=0.3)], max_body=10_000, max_bodies=15_000) as here:
        replies = await asyncio.gather(*(here.status(messages=["x" * 9_000]) for _ in range(3)))
        assert sorted(status for status, *_ in replies) == [200, 503, 503]
        assert await is_well(here)
        assert here.frontend.admission.bytes_held == 0


async def test_bodies_that_are_only_announced_take_nobodys_room(tmp_path):
    async with desk(tmp_path, max_body=10_000, max_bodies=15_000) as here:
        held = [await asyncio.open_connection("127.0.0.1", here.port) for _ in range(5)]
        for _, writer in held:
            writer.write(b"POST /v1/completions HTTP/1.1\r\nHost: r\r\nContent-Length: 9999\r\n\r\n{")
        await until(lambda: here.frontend.admission.requests == 5)
        assert (await here.status(messages=["x" * 9_000]))[0] == 200
        for _, writer in held:
            writer.close()
        await until(lambda: here.frontend.admission.requests == 0)
        assert here.frontend.admission.bytes_held == 0


async def test_requests_together_are_bounded(tmp_path):
    async with desk(tmp_path, [Behaviour(versions=[STABLE], first_token=0.3)], max_requests=2) as here:
        replies = await asyncio.gather(*(here.status() for _ in range(5)))
        assert sorted(status for status, *_ in replies) == [200, 200, 503, 503, 503]
        assert {body["error"]["code"] for status, body, _ in replies if status == 503} == {"overloaded"}
        assert await is_well(here)


async def test_connections_together_are_bounded(tmp_path):
    async with desk(tmp_path, max_connections=2) as here:
        held = [await asyncio.open_connection("127.0.0.1", here.port) for _ in range(2)]
        await until(lambda: here.listener._server._count == 2)
        assert await here.raw(request("GET /health")) == b""
        for _, writer in held:
            writer.close()
        await until(lambda: here.listener._server._count == 0)
        assert await is_well(here)


async def test_a_compressed_body_is_not_unpacked(tmp_path):
    async with desk(tmp_path) as here:
        assert status_of(await here.raw(request("POST /v1/completions", BODY, "Content-Encoding: gzip"))) == 415


async def test_a_body_that_never_comes_is_given_up(tmp_path):
    async with desk(tmp_path, body_seconds=0.2) as here:
        reader, writer = await asyncio.open_connection("127.0.0.1", here.port)
        writer.write(b"POST /v1/completions HTTP/1.1\r\nHost: r\r\nContent-Length: 100\r\n\r\n{")
        assert status_of(await asyncio.wait_for(reader.readline(), 60)) == 408
        writer.close()
        assert await is_well(here)


async def test_headers_that_never_come_are_given_up(tmp_path):
    async with desk(tmp_path, idle_seconds=0.3) as here:
        reader, writer = await asyncio.open_connection("127.0.0.1", here.port)
        writer.write(b"POST /v1/completions HTTP/1.1\r\nHost:")
        assert await asyncio.wait_for(reader.read(), 60) == b""
        writer.close()


async def test_headers_that_never_end_are_refused(tmp_path):
    async with desk(tmp_path) as here:
        assert status_of(await here.raw(request("GET /v1/models", b"", "X-Long: " + "x" * 100_000))) == 400
        assert status_of(await here.raw(request("GET /v1/models", b"", *(f"X-{n}: y" for n in range(5_000))))) == 400
        assert status_of(await here.raw(request("GET /" + "x" * 100_000, b""))) == 400
        assert await is_well(here)


async def test_a_client_that_asks_before_it_sends_is_told_to_go_on(tmp_path):
    async with desk(tmp_path) as here:
        reader, writer = await asyncio.open_connection("127.0.0.1", here.port)
        head, _, body = request("POST /v1/completions", BODY, "Expect: 100-continue").partition(b"\r\n\r\n")
        writer.write(head + b"\r\n\r\n")
        assert status_of(await asyncio.wait_for(reader.readline(), 60)) == 100
        await reader.readline()
        writer.write(body)
        assert status_of(await asyncio.wait_for(reader.readline(), 60)) == 200
        writer.close()


async def test_draining_ends_idle_connections_and_lets_streams_end(tmp_path):
    async with desk(tmp_path, [Behaviour(versions=[STABLE], gap=0.02, tokens=20)]) as here:
        idle, _ = await asyncio.open_connection("127.0.0.1", here.port)
        async with here.ask(stream=True) as reply:
            await reply.content.readany()
            draining = asyncio.create_task(here.listener.drain())
            assert await asyncio.wait_for(idle.read(), 60) == b""
            assert (await reply.read()).endswith(b"[DONE]\n\n")
        await asyncio.wait_for(draining, 60)
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", here.port)


METHODS = st.sampled_from(["GET", "POST", "PUT", "OPTIONS", "\x00", "G E T"])
TARGETS = st.sampled_from([*PATHS, "/v1/completions", "/v1/chat/completions", "/v1/models"]) | st.text(max_size=30)
HEADERS = st.lists(
    st.sampled_from(
        [
            "Transfer-Encoding: chunked",
            "Transfer-Encoding: gzip, chunked",
            "Content-Length: 5",
            "Content-Length: -1",
            "Content-Length: 99999999999999999999",
            "Expect: 100-continue",
            "Upgrade: websocket",
            "Connection: upgrade",
            "Content-Encoding: gzip",
            "x-adapter-version: base",
            "Authorization: Bearer \udcff",
            ": empty",
            "no colon",
        ]
    )
    | st.text(max_size=30),
    max_size=4,
)
BODIES = st.sampled_from([BODY, b"", b"{", b'{"model":"base"}', b'{"model":{}}', b"5\r\nhello\r\n0\r\n\r\n"]) | st.binary(max_size=60)


def raw_request(parts: tuple[str, str, list[str], bytes]) -> bytes:
    method, target, headers, body = parts
    head = f"{method} {target} HTTP/1.1\r\nHost: r\r\n" + "".join(f"{header}\r\n" for header in headers)
    return head.encode("utf-8", "surrogateescape") + b"\r\n" + body


def test_whatever_is_sent_harms_nobody_and_reaches_no_admin_path(tmp_path_factory):
    with asyncio.Runner() as runner:
        stack = desk(tmp_path_factory.mktemp("fuzz"), body_seconds=0.2, idle_seconds=0.3)
        here = runner.run(stack.__aenter__())

        @settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
        @given(st.tuples(METHODS, TARGETS, HEADERS, BODIES).map(raw_request) | st.binary(max_size=200))
        def send(data: bytes) -> None:
            assert status_of(runner.run(here.raw(data, seconds=0.05))) != 500

        send()
        assert here.engine.paths.keys() <= {"POST /v1/completions", "POST /v1/chat/completions"}
        assert here.engine.asked.keys() <= {STABLE}
        assert runner.run(is_well(here))
        runner.run(stack.__aexit__(None, None, None))
