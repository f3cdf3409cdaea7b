"""What routers and agents answer is read within bounds, and nothing they answer hurts."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web
from pydantic import ValidationError

from finetune_inference.contract import (
    JUDGED_SERIES,
    Acknowledgement,
    AgentStatus,
    AppliedRoute,
    DesiredSet,
    EngineStatus,
    Finding,
    FingerprintToken,
    RouteTable,
    ServedBase,
    VersionState,
    VersionStatus,
)
from finetune_operator.cluster import serving
from finetune_operator.cluster.exposition import Malformed, read_line
from finetune_operator.cluster.serving import NoAnswer, PodClient

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
REQUESTS = "adapter_router_requests_total"
LINE = f'{REQUESTS}{{namespace="ns",deployment="bot",version="a--0123456789ab",track="live",outcome="ok"}} 3.0\n'

ACKNOWLEDGED = Acknowledgement(router="r", process="p", routes=[AppliedRoute(deployment="bot", alias="bot", generation=3, weight=5)])
STATUS = AgentStatus(
    generation=2,
    engine=EngineStatus(reachable=True),
    versions=[
        VersionStatus(
            name="a--0123456789ab",
            digest="sha256:0123456789ab" + "0" * 52,
            state=VersionState.FAILED,
            reason="RankTooHigh",
            findings=[Finding(field="r", reason="RankTooHigh", message="r is 256", way_out="Raise it.")],
            fingerprint=[FingerprintToken(token="0123456789ab", logprob="-0.5")],
        )
    ],
)


@asynccontextmanager
async def pod(answer: Handler) -> AsyncIterator[PodClient]:
    """A pod that answers everything alike, and a client that asks it for both roles."""
    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port = int(runner.addresses[0][1])
    client = PodClient(router_port=port, agent_port=port)
    try:
        yield client
    finally:
        await client.close()
        await runner.cleanup()


def says(text: str | bytes, **options: object) -> Handler:
    async def answer(_request: web.Request) -> web.Response:
        return web.Response(body=text if isinstance(text, bytes) else text.encode(), **options)  # type: ignore[arg-type]

    return answer


async def test_an_acknowledgement_is_read() -> None:
    route = AppliedRoute(deployment="bot", alias="bot", generation=3, weight=5)
    told = Acknowledgement(router="r", process="p", routes=[route])
    async with pod(says(told.to_json())) as client:
        assert await client.acknowledgement("127.0.0.1") == told


def newer(document: Any) -> Any:
    """The document as a later release might say it: one key more in every object."""
    if isinstance(document, list):
        return [newer(each) for each in document]
    return {**{key: newer(value) for key, value in document.items()}, "novelty": 1} if isinstance(document, dict) and document else document


@pytest.mark.parametrize("told", [ACKNOWLEDGED, STATUS], ids=lambda told: told.kind)
async def test_what_a_newer_release_says_besides_is_passed_over(told: Acknowledgement | AgentStatus) -> None:
    async with pod(says(json.dumps(newer(json.loads(told.to_json()))))) as client:
        ask = client.acknowledgement if isinstance(told, Acknowledgement) else client.agent_status
        assert await ask("127.0.0.1") == told


async def test_a_known_key_with_an_odd_value_is_still_no_answer() -> None:
    odd = {**json.loads(STATUS.to_json()), "novelty": 1, "generation": "many"}
    async with pod(says(json.dumps(odd))) as client:
        with pytest.raises(NoAnswer, match="generation"):
            await client.agent_status("127.0.0.1")


@pytest.mark.parametrize("order", [RouteTable(), DesiredSet(generation=1, base=ServedBase(name="base"))], ids=lambda order: order.kind)
def test_orders_stay_strict(order: RouteTable | DesiredSet) -> None:
    with pytest.raises(ValidationError, match="novelty"):
        type(order).from_json(json.dumps(newer(json.loads(order.to_json()))))


async def test_counters_are_read_by_deployment_and_only_the_wanted_ones() -> None:
    text = (
        f"# HELP {REQUESTS} Requests.\n# TYPE {REQUESTS} counter\n{LINE}{LINE.replace('bot', 'other')}"
        f'adapter_router_e2e_seconds_bucket{{deployment="bot",le="1.0"}} 7.0\nprocess_cpu_seconds_total 4.2\n'
    )
    async with pod(says(text)) as client:
        found = await client.samples("127.0.0.1", {"bot", "silent"})
    labels = {"namespace": "ns", "deployment": "bot", "version": "a--0123456789ab", "track": "live", "outcome": "ok"}
    assert found == {"bot": [(REQUESTS, labels, 3.0)], "silent": []}


ODD: dict[str, Handler] = {
    "nothing": says(""),
    "no JSON": says("hello"),
    "a list": says("[]"),
    "another kind": says('{"kind": "Job"}'),
    "deep nesting": says("[" * 100_000),
    "a number without end": says('{"generation": ' + "9" * 10_000 + "}"),
    "bytes": says(bytes(range(256))),
    "too large": says("x" * (serving.DOCUMENT_LIMIT + 1)),
    "an error": says("{}", status=500),
    "a redirect": says("", status=302, headers={"Location": "http://127.0.0.1:1/"}),
    "compression": says(b"{}", headers={"Content-Encoding": "gzip"}),
}


@pytest.mark.parametrize("answer", ODD.values(), ids=ODD)
async def test_an_odd_answer_is_no_answer(answer: Handler) -> None:
    async with pod(answer) as client:
        with pytest.raises(NoAnswer):
            await client.acknowledgement("127.0.0.1")
        with pytest.raises(NoAnswer):
            await client.agent_status("127.0.0.1")


ODD_METRICS: dict[str, Handler] = {
    "no number": says(LINE.replace("3.0", "three")),
    "no labels' end": says(LINE.replace("}", "")),
    "a very long line": says(LINE.replace('"ns"', '"' + "n" * 10_000 + '"')),
    "a line without an end": says(REQUESTS + "{" * (2 * serving.BREATH)),
    "a last line cut off": says(LINE.rstrip()),
    "an error": says("", status=503),
    "too many series": says(LINE * (serving.SAMPLE_LIMIT + 1)),
}


@pytest.mark.parametrize("answer", ODD_METRICS.values(), ids=ODD_METRICS)
async def test_odd_metrics_are_no_answer(answer: Handler) -> None:
    async with pod(answer) as client:
        with pytest.raises(NoAnswer):
            await client.samples("127.0.0.1", {"bot"})


async def test_metrics_without_end_are_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    sent = 0

    async def endless(request: web.Request) -> web.StreamResponse:
        nonlocal sent
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b"# nothing\n" * 10_000)
            sent += 100_000

    monkeypatch.setattr(serving, "METRICS_LIMIT", 1_000_000)
    async with pod(endless) as client:
        with pytest.raises(NoAnswer, match="more than"):
            await client.samples("127.0.0.1", {"bot"})


async def test_a_pod_that_never_answers_costs_its_time_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    async def silent(_request: web.Request) -> web.Response:
        await asyncio.Event().wait()
        raise AssertionError

    monkeypatch.setattr(serving, "TIMEOUT", 0.2)
    async with pod(silent) as client:
        with pytest.raises(NoAnswer, match="TimeoutError"):
            await client.acknowledgement("127.0.0.1")


async def test_nobody_there_and_no_address_are_no_answer() -> None:
    client = PodClient(router_port=1, agent_port=1)
    for ip in ("127.0.0.1", "", "not an address", "::1"):
        with pytest.raises(NoAnswer):
            await client.acknowledgement(ip)
    await client.close()


async def test_no_more_questions_at_once_than_allowed() -> None:
    under_way = most = 0

    async def slow(_request: web.Request) -> web.Response:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0.02)
        under_way -= 1
        return web.Response(text="{}")

    async with pod(slow) as client:
        client._turn = asyncio.Semaphore(3)
        await asyncio.gather(*(client.acknowledgement("127.0.0.1") for _ in range(12)), return_exceptions=True)
    assert most == 3


def test_escapes_in_labels_are_undone() -> None:
    found = read_line(REQUESTS.encode() + rb'{a="x\"y\\n\n",b="{},"} 1e3', JUDGED_SERIES)
    assert found is not None
    assert found.labels == {"a": 'x"y\\n\n', "b": "{},"}
    assert found.value == 1000.0


@pytest.mark.parametrize("line", [b"", b"# TYPE x counter", b"up 1", b"\xff\xfe{", b"other{a=1} x"])
def test_lines_of_other_families_are_passed_over(line: bytes) -> None:
    assert read_line(line, JUDGED_SERIES) is None


def test_a_wanted_line_without_labels_is_refused() -> None:
    with pytest.raises(Malformed):
        read_line(REQUESTS.encode() + b"{} x y z", JUDGED_SERIES)
