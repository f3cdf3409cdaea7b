"""What answers in Prometheus' place may be slow, endless, elsewhere or something else: each is a failure with a name, and no secret in it.

A real Prometheus is asked in tests/process/router/test_reading_from_prometheus.py; here are the answers that it does not give on demand.
"""

import asyncio
import json
import re
import ssl
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from finetune_operator.cluster.prometheus import Failure, NoMetrics, PrometheusClient, PrometheusServer
from finetune_operator.control.prometheus import PrometheusSource
from finetune_operator.domain.analysis.prometheus import LastScrapes
from finetune_operator.domain.analysis.promql import counters_query

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
EMPTY = {"status": "success", "data": {"resultType": "matrix", "result": []}}
LIMIT = 64 * 1024
SECRET = "s3cr3t-token"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Key and certificate of 127.0.0.1, its own authority, in one file."""
    folder = tmp_path_factory.mktemp("tls")
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", "/CN=x"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(folder / "key"), "-out", str(folder / "crt")]
    subprocess.run(command, check=True, capture_output=True)
    both = folder / "both.pem"
    both.write_text((folder / "crt").read_text() + (folder / "key").read_text())
    return both


@pytest.fixture
def token(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text(f"{SECRET}\n")
    return path


@asynccontextmanager
async def serving(handler: Handler, certificate: Path, prefix: str = "") -> AsyncIterator[str]:
    """The address of a server that answers so, over TLS."""
    application = web.Application()
    application.router.add_get(f"{prefix}/api/v1/query", handler)
    application.router.add_get("/elsewhere", answer)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    try:
        yield f"https://127.0.0.1:{runner.addresses[0][1]}{prefix}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def reading(server: PrometheusServer, freshness_seconds: int = 60) -> AsyncIterator[PrometheusSource]:
    client = PrometheusClient(server, timeout=1.0, body_limit=LIMIT)
    try:
        yield PrometheusSource(client, freshness_seconds)
    finally:
        await client.close()


async def answer(_request: web.Request) -> web.StreamResponse:
    return web.json_response(EMPTY)


async def test_it_asks_one_query_below_the_address_with_the_token_as_it_is_now(certificate: Path, token: Path):
    asked: list[tuple[str | None, str]] = []

    async def listen(request: web.Request) -> web.StreamResponse:
        asked.append((request.headers.get("Authorization"), request.query["query"]))
        return await answer(request)

    async with serving(listen, certificate, "/prometheus") as url:
        server = PrometheusServer(f"{url}/", token_file=token, ca_file=certificate)
        async with reading(server, freshness_seconds=90) as reader:
            assert await reader.read("team", "bot.v2") == LastScrapes()
            token.write_text("renewed")  # noqa: ASYNC240  a few bytes
            assert await reader.read("team", "bot.v2") == LastScrapes()
    query = counters_query("team", "bot.v2", 90)
    assert asked == [(f"Bearer {SECRET}", query), ("Bearer renewed", query)]


def status(code: int, text: str = "") -> Handler:
    async def handler(_request: web.Request) -> web.StreamResponse:
        return web.Response(status=code, text=text)

    return handler


def error(code: int, kind: str) -> Handler:
    return status(code, json.dumps({"status": "error", "errorType": kind, "error": f"you said {SECRET}"}))


async def redirect(_request: web.Request) -> web.StreamResponse:
    raise web.HTTPFound("/elsewhere")


async def flood(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    for _ in range(64):
        await response.write(b" " * LIMIT)
    return response


async def compressed(_request: web.Request) -> web.StreamResponse:
    response = web.json_response(EMPTY)
    response.enable_compression(web.ContentCoding.gzip)
    response.headers["Content-Encoding"] = "gzip"
    return response


async def stall(_request: web.Request) -> web.StreamResponse:
    await asyncio.Event().wait()
    raise AssertionError


async def break_off(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Length": "1000"})
    await response.prepare(request)
    await response.write(b'{"status": "success"')
    assert request.transport is not None
    request.transport.abort()
    return response


CASES: dict[str, tuple[Handler, Failure, str]] = {
    "no token, or a wrong one": (status(401), Failure.REFUSED, "tokenFile"),
    "no right to ask": (error(403, "forbidden"), Failure.REFUSED, "tokenFile"),
    "another address": (redirect, Failure.UNUSABLE, "redirects"),
    "no such path": (status(404), Failure.UNUSABLE, "address"),
    "a query that is refused": (error(422, "execution"), Failure.UNUSABLE, "422 (execution)"),
    "an error with an odd word": (error(400, "x y " * 99), Failure.UNUSABLE, "status 400: "),
    "too much to do": (error(503, "timeout"), Failure.UNREACHABLE, "503 (timeout)"),
    "too many questions": (status(429), Failure.UNREACHABLE, "429"),
    "a proxy's long page": (status(502, "<p>" * LIMIT), Failure.UNREACHABLE, "502"),
    "no JSON": (status(200, "<html>"), Failure.UNUSABLE, "no JSON"),
    "JSON without a bottom": (status(200, "[" * 10_000), Failure.UNUSABLE, "no JSON"),
    "something else": (status(200, f'["{SECRET}"]'), Failure.UNUSABLE, "no answer of Prometheus"),
    "too long": (flood, Failure.UNUSABLE, f"larger than {LIMIT} bytes"),
    "compressed": (compressed, Failure.UNUSABLE, "compressed"),
    "too slow": (stall, Failure.UNREACHABLE, "TimeoutError"),
    "half an answer": (break_off, Failure.UNREACHABLE, "no answer"),
}


@pytest.mark.parametrize(("handler", "failure", "words"), CASES.values(), ids=CASES)
async def test_anything_else_is_a_failure_with_a_name(handler: Handler, failure: Failure, words: str, certificate: Path, token: Path):
    async with (
        serving(handler, certificate) as url,
        reading(PrometheusServer(url, token_file=token, ca_file=certificate)) as reader,
    ):
        with pytest.raises(NoMetrics, match=re.escape(words)) as caught:
            await asyncio.wait_for(reader.read("team", "bot"), 5)
    assert caught.value.failure is failure
    assert SECRET not in str(caught.value)


async def test_nobody_listening_is_worth_another_try():
    async with reading(PrometheusServer("http://127.0.0.1:1")) as reader:
        with pytest.raises(NoMetrics) as caught:
            await reader.read("team", "bot")
    assert caught.value.failure is Failure.UNREACHABLE


async def test_a_server_nobody_vouches_for_gets_no_token(certificate: Path, token: Path):
    asked: list[web.Request] = []

    async def listen(request: web.Request) -> web.StreamResponse:
        asked.append(request)
        return await answer(request)

    async with serving(listen, certificate) as url, reading(PrometheusServer(url, token_file=token)) as reader:
        with pytest.raises(NoMetrics, match="caFile") as caught:
            await reader.read("team", "bot")
    assert (caught.value.failure, asked) == (Failure.CONFIGURATION, [])


FILES = {"missing": None, "empty": "", "two lines": "a\nb", "not text": "\xff\xfe"}


@pytest.mark.parametrize("content", FILES.values(), ids=FILES)
@pytest.mark.parametrize("field", ["token_file", "ca_file"])
async def test_a_file_that_cannot_be_used_is_named(field: str, content: str | None, tmp_path: Path):
    path = tmp_path / "file"
    if content is not None:
        path.write_bytes(content.encode("latin-1"))
    async with reading(PrometheusServer("https://127.0.0.1:1", **{field: path})) as reader:
        with pytest.raises(NoMetrics, match=re.escape(str(path))) as caught:
            await reader.read("team", "bot")
    assert caught.value.failure is Failure.CONFIGURATION


MISTAKES: dict[str, tuple[dict[str, object], str]] = {
    "no scheme": ({"url": "prometheus:9090"}, "url"),
    "another scheme": ({"url": "file:///etc/passwd"}, "url"),
    "no host": ({"url": "https:///x"}, "url"),
    "no port": ({"url": "https://prometheus:99999"}, "url"),
    "a password": ({"url": "https://me:pass@prometheus"}, "url"),
    "a query": ({"url": "https://prometheus/?a=b"}, "url"),
    "a fragment": ({"url": "https://prometheus/#x"}, "url"),
    "a token in the open": ({"url": "http://prometheus", "token_file": Path("/t")}, "tokenFile"),
    "an authority for nothing": ({"url": "http://prometheus", "ca_file": Path("/t")}, "caFile"),
}


@pytest.mark.parametrize(("fields", "named"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_in_the_configuration_is_named(fields: dict[str, object], named: str):
    with pytest.raises(ValueError, match=f"^{named}: "):
        PrometheusServer(**fields)  # type: ignore[arg-type]


@pytest.mark.parametrize("seconds", [0, 3600])
def test_a_scrape_is_fresh_for_a_while_and_not_for_ever(seconds: int):
    with pytest.raises(ValueError, match="freshnessSeconds"):
        PrometheusSource(PrometheusClient(PrometheusServer("http://prometheus")), seconds)
