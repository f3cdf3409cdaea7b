"""The client against vLLM's habits, without a process."""

import argparse
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from finetune_inference.engine import (
    AdapterNotFound,
    AnswerUnreadable,
    EngineAway,
    EngineClient,
    EngineError,
    EngineTimeouts,
    KeyUnusable,
    LoadingOff,
    NameTaken,
    NotAuthorized,
    Refused,
)
from finetune_inference.engine.answers import process_start
from tests.engines.artifacts import AdapterFiles
from tests.engines.fake_vllm import FakeEngine

TIMEOUTS = EngineTimeouts(connect=60.0, read=60.0, load=60.0, unload=60.0, probe=60.0)
OPTIONS: dict[str, Any] = {
    "served_model_name": "base",
    "model": "/models/base",
    "max_loras": 2,
    "max_cpu_loras": 4,
    "max_lora_rank": 8,
    "load_seconds": 0.0,
    "drift": (),
    "token_seconds": 0.0,
    "api_key": None,
    "no_runtime_updates": False,
}


@asynccontextmanager
async def served(application: web.Application, timeouts: EngineTimeouts = TIMEOUTS, key: str | None = None) -> AsyncIterator[EngineClient]:
    server = TestServer(application)
    await server.start_server()
    client = EngineClient(str(server.make_url("")), key=lambda: key, timeouts=timeouts)
    try:
        yield client
    finally:
        await client.close()
        await server.close()


def engine(**options: Any) -> FakeEngine:
    return FakeEngine(argparse.Namespace(**{**OPTIONS, **options}))


@pytest.fixture
def adapter(tmp_path: Path) -> str:
    AdapterFiles().write(tmp_path / "adapter")
    return str(tmp_path / "adapter")


async def test_what_is_loaded_is_listed_with_its_root_and_its_base(adapter: str) -> None:
    async with served(engine().application()) as client:
        await client.load("support--0", adapter)
        base, loaded = await client.models()
    assert (base.name, base.parent) == ("base", None)
    assert (loaded.name, loaded.root, loaded.parent) == ("support--0", adapter, "base")


async def test_the_same_name_and_place_again_is_a_success_and_another_place_is_not(adapter: str, tmp_path: Path) -> None:
    AdapterFiles(seed=2).write(tmp_path / "other")
    async with served(engine().application()) as client:
        await client.load("support--0", adapter)
        await client.load("support--0", adapter)
        with pytest.raises(NameTaken):
            await client.load("support--0", str(tmp_path / "other"))


async def test_unloading_what_is_gone_is_a_success_and_the_slot_stays_taken(adapter: str) -> None:
    fake = engine()
    async with served(fake.application()) as client:
        await client.load("support--0", adapter)
        await client.unload("support--0")
        await client.unload("support--0")
        assert [model.name for model in await client.models()] == ["base"]
    assert len(fake.adapters.cache) == 1


async def test_an_adapter_pushed_out_of_memory_is_still_listed_and_read_again_at_its_next_request(tmp_path: Path) -> None:
    fake = engine(max_cpu_loras=1)
    async with served(fake.application()) as client:
        for seed in (1, 2):
            AdapterFiles(seed=seed).write(tmp_path / str(seed))
            await client.load(f"support--{seed}", str(tmp_path / str(seed)))
        assert len(await client.models()) == 3
        await client.first_token("support--1", "x", 5)
    assert fake.adapters.counts["evictions"] == 2
    assert fake.adapters.counts["diskReads"] == 3


async def test_a_missing_folder_is_told_from_a_missing_route(tmp_path: Path) -> None:
    async with served(engine().application()) as client:
        with pytest.raises(AdapterNotFound, match="No adapter found"):
            await client.load("support--0", str(tmp_path / "nothing"))
    async with served(engine(no_runtime_updates=True).application()) as client:
        with pytest.raises(LoadingOff):
            await client.load("support--0", str(tmp_path))
        with pytest.raises(LoadingOff):
            await client.unload("support--0")


async def test_an_engine_may_load_at_a_port_of_its_own(adapter: str) -> None:
    fake = engine()
    public = TestServer(_answers("/v1/load_lora_adapter", "no", status=500))
    await public.start_server()
    async with served(fake.application()) as admin:
        client = EngineClient(str(public.make_url("")), admin_url=admin._admin_url)
        with pytest.raises(EngineAway, match="/v1/models"):
            await client.load("support--0", adapter)  # loaded at the one, listed at the other
        await client.close()
    await public.close()
    assert fake.adapters.log == ["load support--0"]


async def test_a_refusal_carries_the_engines_own_words(tmp_path: Path) -> None:
    AdapterFiles(rank=16).write(tmp_path / "adapter")
    async with served(engine().application()) as client:
        with pytest.raises(Refused, match="LoRA rank 16 is greater than max_lora_rank 8"):
            await client.load("support--0", str(tmp_path / "adapter"))


async def test_the_key_is_sent_and_a_wrong_one_named() -> None:
    async with served(engine(api_key="right").application(), key="right") as client:
        assert await client.models()
    async with served(engine(api_key="right").application(), key="wrong") as client:
        with pytest.raises(NotAuthorized) as refused:
            await client.models()
    assert "right" not in refused.value.message + refused.value.way_out
    assert "wrong" not in refused.value.message + refused.value.way_out


async def test_every_call_has_a_deadline(adapter: str) -> None:
    fake = engine()
    fake.faults.hang = True
    short = EngineTimeouts(connect=60.0, read=0.05, load=0.05, unload=0.05, probe=0.05)
    async with served(fake.application(), short) as client:
        for call in (
            client.models(),
            client.started(),
            client.load("a", adapter),
            client.unload("a"),
            client.first_token("base", "x", 5),
        ):
            with pytest.raises(EngineAway, match="did not answer within"):
                await call


@pytest.mark.parametrize("key", ["two\nlines", "two\r\nlines", "a\x00b", "a\x7fb", "a\tb"])
async def test_a_key_that_no_header_can_carry_is_said_and_never_shown(key: str) -> None:
    async with served(engine().application(), key=key) as client:
        for call in (client.models(), client.started(), client.load("a", "/a"), client.unload("a"), client.first_token("a", "x", 1)):
            with pytest.raises(KeyUnusable) as refused:
                await call
            assert key not in str(refused.value)


async def test_an_unhealthy_engine_is_away_whatever_it_lists() -> None:
    fake = engine()
    fake.faults.unhealthy = True
    async with served(fake.application()) as client:
        with pytest.raises(EngineAway, match="503"):
            await client.models()


async def test_nobody_there_is_away() -> None:
    client = EngineClient("http://127.0.0.1:1", timeouts=TIMEOUTS)
    with pytest.raises(EngineAway):
        await client.models()
    await client.close()


async def test_the_start_of_the_process_is_its_identity() -> None:
    async with served(engine().application()) as client:
        first = await client.started()
        assert first is not None
        assert await client.started() == first
    assert process_start("x 1\nprocess_start_time_seconds 1.76401e+09\n") == "1764010000.00"
    assert process_start("process_start_time_seconds nonsense\n") is None
    assert process_start("") is None


def _answers(path: str, body: str, status: int = 200) -> web.Application:
    async def answer(_request: web.Request) -> web.Response:
        return web.Response(text=body, status=status)

    app = web.Application()
    app.add_routes([web.get("/health", _ok), web.route("*", path, answer)])
    return app


async def _ok(_request: web.Request) -> web.Response:
    return web.Response()


@pytest.mark.parametrize("body", ["", "[]", "{}", '{"data": 1}', "<html>"])
async def test_a_list_of_another_shape_is_refused(body: str) -> None:
    async with served(_answers("/v1/models", body)) as client:
        with pytest.raises(AnswerUnreadable):
            await client.models()


@pytest.mark.parametrize(
    "body",
    ["", "{}", '{"choices": []}', '{"choices": [{"logprobs": null}]}', '{"choices": [{"logprobs": {"top_logprobs": [{"a": NaN}]}}]}'],
)
async def test_a_probe_without_figures_is_refused(body: str) -> None:
    async with served(_answers("/v1/completions", body)) as client:
        with pytest.raises(AnswerUnreadable):
            await client.first_token("base", "x", 5)


async def test_a_model_that_ends_at_once_has_a_first_token_all_the_same() -> None:
    """Engines give no figures for an end that ends the answer."""

    async def complete(request: web.Request) -> web.Response:
        asked = await request.json()
        logprobs = {"tokens": ["</s>"], "token_logprobs": [-0.1], "top_logprobs": [{"</s>": -0.1, "a": -2.5}]}
        return web.json_response({"choices": [{"text": "", "logprobs": logprobs if asked.get("ignore_eos") else None}]})

    application = web.Application()
    application.router.add_post("/v1/completions", complete)
    async with served(application) as client:
        assert await client.first_token("base", "x", 5) == {"</s>": -0.1, "a": -2.5}


async def test_an_answer_without_end_is_cut_off() -> None:
    async with served(_answers("/v1/models", json.dumps({"data": [], "x": "x" * (5 << 20)}))) as client:
        with pytest.raises(AnswerUnreadable, match="larger than 4 MiB"):
            await client.models()


async def test_a_redirect_is_not_followed() -> None:
    async def elsewhere(_request: web.Request) -> web.Response:
        raise web.HTTPFound("http://127.0.0.1:1/")

    app = web.Application()
    app.add_routes([web.get("/health", elsewhere)])
    async with served(app) as client:
        with pytest.raises(EngineAway, match="302"):
            await client.models()


@pytest.mark.parametrize("make", [AdapterNotFound, EngineAway, LoadingOff, NameTaken, NotAuthorized, Refused, AnswerUnreadable])
def test_every_error_has_a_reason_and_a_way_out(make: Callable[[str], EngineError]) -> None:
    error = make("x")
    assert error.reason.isidentifier()
    assert error.way_out.endswith(".")
