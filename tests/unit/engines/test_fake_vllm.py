"""What routers and load generators rely on: streams, shares of failures met exactly, and an engine that a load holds up."""

import argparse
import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp.test_utils import TestClient, TestServer

from tests.engines.artifacts import AdapterFiles
from tests.engines.fake_vllm import FakeEngine

NAME = "support--0123456789ab"


@pytest.fixture
def engine() -> FakeEngine:
    options = {
        "max_loras": 2,
        "max_cpu_loras": 4,
        "max_lora_rank": 8,
        "load_seconds": 0.0,
        "token_seconds": 0.0,
        "drift": (),
        "api_key": None,
    }
    return FakeEngine(argparse.Namespace(served_model_name="base", model="/models/base", no_runtime_updates=False, **options))


@pytest.fixture
async def client(engine: FakeEngine, tmp_path: Path) -> AsyncIterator[TestClient[Any, Any]]:
    AdapterFiles().write(tmp_path / "adapter")
    async with TestClient(TestServer(engine.application())) as made:
        answer = await made.post("/v1/load_lora_adapter", json={"lora_name": NAME, "lora_path": str(tmp_path / "adapter")})
        assert answer.status == 200
        yield made


def chat(model: str = NAME, **more: Any) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": "hello"}], "max_tokens": 3, **more}


async def test_an_answer_names_the_model_that_gave_it_streamed_or_not(client: TestClient[Any, Any]) -> None:
    whole = await (await client.post("/v1/chat/completions", json=chat())).json()
    assert whole["choices"][0]["message"]["content"] == f"{NAME} word word"
    text = await (await client.post("/v1/chat/completions", json=chat(stream=True, stream_options={"include_usage": True}))).text()
    lines = [line.removeprefix("data: ") for line in text.split("\n\n") if line]
    assert lines[-1] == "[DONE]"
    chunks = [json.loads(line) for line in lines[:-1]]
    assert "".join(chunk["choices"][0]["delta"]["content"] for chunk in chunks[:-1]) == f"{NAME} word word"
    assert chunks[-1]["usage"]["completion_tokens"] == 3


async def test_an_unknown_model_is_a_404_and_never_the_base(client: TestClient[Any, Any]) -> None:
    answer = await client.post("/v1/chat/completions", json=chat("support--ffffffffffff"))
    assert answer.status == 404
    assert (await answer.json())["error"]["type"] == "NotFoundError"


async def test_a_share_of_errors_is_met_exactly_and_by_one_model_only(client: TestClient[Any, Any]) -> None:
    await client.post("/faults", json={"error_share": {NAME: 0.25}})
    found = [(await client.post("/v1/chat/completions", json=chat())).status for _ in range(40)]
    assert found.count(500) == 10
    assert [(await client.post("/v1/chat/completions", json=chat("base"))).status for _ in range(8)] == [200] * 8


async def test_a_cut_stream_ends_after_its_first_chunk(client: TestClient[Any, Any]) -> None:
    await client.post("/faults", json={"cut_share": {NAME: 1.0}})
    answer = await client.post("/v1/chat/completions", json=chat(stream=True))
    with pytest.raises(aiohttp.ClientPayloadError):
        await answer.text()


async def test_a_load_holds_up_everybodys_tokens(client: TestClient[Any, Any], engine: FakeEngine, tmp_path: Path) -> None:
    AdapterFiles(seed=2).write(tmp_path / "second")
    engine.faults.load_seconds = 0.3
    load = asyncio.create_task(
        client.post("/v1/load_lora_adapter", json={"lora_name": "b--0123456789ab", "lora_path": str(tmp_path / "second")})
    )
    while engine.loading == 0:  # noqa: ASYNC110  the fake has no event for it
        await asyncio.sleep(0)
    answer = await client.post("/v1/chat/completions", json=chat("base"))
    assert answer.status == 200
    assert load.done() or engine.loading == 0


async def test_an_unknown_fault_is_refused(client: TestClient[Any, Any]) -> None:
    assert (await client.post("/faults", json={"errorshare": 1})).status == 400
