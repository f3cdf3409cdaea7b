"""What a load of streams must not pass over: its own errors, which leave no record of a request."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from tests.engines.load import Load
from tests.engines.processes import until

END = b"data: [DONE]\n\n"


async def _answer(request: web.Request) -> web.Response:
    said = b"data: {no json\n\n" if (await request.json())["model"] == "broken" else b""
    return web.Response(body=said + END)


@pytest.fixture
async def url() -> AsyncIterator[str]:
    application = web.Application()
    application.router.add_post("/v1/chat/completions", _answer)
    async with TestServer(application) as server:
        yield str(server.make_url("")).rstrip("/")


async def _begun(load: Load) -> None:
    await asyncio.to_thread(until, lambda: load.records or load.problems)


async def test_requests_that_end_have_a_record_and_are_no_problem(url: str) -> None:
    load = Load(url, rate=100)
    async with load.running():
        await _begun(load)
    assert (load.failures, load.problems, load.open) == ([], [], 0)


async def test_an_answer_that_cannot_be_read_is_raised_at_the_end(url: str) -> None:
    load = Load(url, rate=100, document={"model": "broken"}, reads=True)
    with pytest.raises(ExceptionGroup, match="problems of the load itself"):
        async with load.running():
            await _begun(load)
    assert {type(problem).__name__ for problem in load.problems} == {"JSONDecodeError"}


async def test_a_load_that_begins_no_more_requests_is_raised_at_the_end(url: str) -> None:
    load = Load(url, rate=0)
    with pytest.raises(ExceptionGroup, match="problems of the load itself"):
        async with load.running():
            await _begun(load)
    assert [type(problem) for problem in load.problems] == [ZeroDivisionError]


def test_a_load_on_a_thread_ends_with_its_block() -> None:
    load = Load("http://127.0.0.1:1", rate=100)
    with load.on_a_thread():
        until(lambda: load.failures)
    assert (load.open, load.problems) == (0, [])
