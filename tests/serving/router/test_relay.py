"""What a client gets of an answer, and what an engine gets of a request."""

import asyncio
import json

import aiohttp
import openai
import pytest

from finetune_inference.router.choice import has_canary, position
from finetune_inference.router.messages import Credentials
from tests.engines.processes import ALIAS, CANARY, STABLE
from tests.engines.synthetic import Behaviour
from tests.serving.router.desk import desk, until

EVERY_CALLER = {"canary": CANARY, "weight": 100}


async def test_a_stream_passes_through_under_the_alias(tmp_path):
    async with desk(tmp_path, [Behaviour(versions=[STABLE], gap=0.01)]) as here, here.ask(stream=True) as reply:
        text = (await reply.read()).decode()
        assert reply.headers["x-adapter-version"] == STABLE
        assert reply.content_type == "text/event-stream"
        assert STABLE not in text
        assert text.count(f'"model":"{ALIAS}"') == 6
        assert text.endswith("data: [DONE]\n\n")
        await until(lambda: here.outcomes() == {"ok": 1})
        assert here.count("ttft_seconds_count", version=STABLE, track="live") == 1
        assert here.count("e2e_seconds_count", version=STABLE, track="live") == 1
        assert here.count("itl_seconds_count", version=STABLE, track="live") >= 1
        assert here.count("finish_total", version=STABLE, reason="stop") == 1
        assert here.count("output_tokens_total", version=STABLE) == 6


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions"])
async def test_a_whole_answer_comes_under_the_alias(tmp_path, path):
    async with desk(tmp_path) as here, here.ask(path) as reply:
        assert (await reply.json())["model"] == ALIAS
        assert here.count("output_tokens_total", version=STABLE) == 5
        assert here.engine.paths == {f"POST {path}": 1}


async def test_the_usage_field_counts_tokens_where_there_is_one(tmp_path):
    async with desk(tmp_path, [Behaviour(versions=[STABLE], tokens=9)]) as here:
        async with here.ask(stream=True, stream_options={"include_usage": True}) as reply:
            await reply.read()
        await until(lambda: here.count("output_tokens_total", version=STABLE) == 9)


async def test_an_engine_gets_its_own_key_and_nothing_of_the_callers(tmp_path):
    async with desk(tmp_path) as here:
        here.frontend.credentials = Credentials(engine_key="engine-key")
        sent = {
            "Authorization": "Bearer callers-key",
            "Cookie": "a=b",
            "X-Forwarded-For": "1.2.3.4",
            "x-request-id": "r-1",
            "X-Api-Key": "k",
        }
        assert (await here.status(headers=sent))[0] == 200
        got = {name.lower(): value for name, value in here.engine.headers[0].items()}
        assert got["authorization"] == "Bearer engine-key"
        assert got["x-request-id"] == "r-1"
        assert "callers-key" not in json.dumps(got)
        assert not {"cookie", "x-forwarded-for", "x-api-key"} & got.keys()


async def test_the_official_client_is_served(tmp_path):
    async with desk(tmp_path) as here:
        here.frontend.credentials = Credentials()
        async with openai.AsyncOpenAI(base_url=f"{here.url}/v1", api_key="any", max_retries=0) as client:
            whole = await client.chat.completions.create(model=ALIAS, messages=[{"role": "user", "content": "hello"}])
            assert (whole.model, whole.choices[0].message.content) == (ALIAS, "word " * 5)
            stream = await client.chat.completions.create(model=ALIAS, messages=[{"role": "user", "content": "hello"}], stream=True)
            chunks = [chunk async for chunk in stream]
            assert {chunk.model for chunk in chunks} == {ALIAS}
            assert [model.id async for model in client.models.list()] == [ALIAS]
            with pytest.raises(openai.NotFoundError) as error:
                await client.chat.completions.create(model="gpt", messages=[])
            assert error.value.code == "model_not_found"


async def test_a_caller_stays_with_a_version_and_the_rest_with_the_other(tmp_path):
    async with desk(tmp_path) as here:
        here.route(canary=CANARY, weight=50, salt="s", stickiness={"header": "x-session-id"})
        for number in range(10):
            expected = CANARY if has_canary(position("s", f"header:{number}"), 50) else STABLE
            for _ in range(2):
                assert (await here.status(headers={"x-session-id": str(number)}))[2] == expected
        assert here.engine.asked.keys() == {STABLE, CANARY}


async def test_a_busy_pod_is_left_for_another(tmp_path):
    async with desk(tmp_path, [Behaviour(versions=[STABLE], fault="503"), Behaviour(versions=[STABLE])]) as here:
        for _ in range(10):
            assert (await here.status())[0] == 200
        await until(lambda: here.outcomes() == {"ok": 10})
        assert here.suspects
        assert here.count("retries_total", cause="unavailable") == len(here.suspects)


async def test_a_pod_that_lost_the_version_is_left_for_another(tmp_path):
    async with desk(tmp_path, [Behaviour(versions=[STABLE]), Behaviour(versions=[STABLE])]) as here:
        here.engine.behaviour.versions = []
        for _ in range(10):
            assert (await here.status())[0] == 200
        await until(lambda: here.outcomes() == {"ok": 10})
        assert here.count("retries_total", cause="version_absent") >= 1


async def test_a_pod_that_refuses_is_left_for_another(tmp_path):
    async with desk(tmp_path, [Behaviour(versions=[STABLE]), Behaviour(versions=[STABLE])]) as here:
        here.pods[0] = here.pods[0].model_copy(update={"url": "http://127.0.0.1:9"})
        here.hold(0, STABLE)
        for _ in range(10):
            assert (await here.status(stream=False))[0] == 200
        assert here.count("retries_total", cause="unreachable") >= 1


async def test_without_a_pod_for_the_canary_stable_answers_and_the_canary_pays(tmp_path):
    async with desk(tmp_path) as here:
        here.route(**EVERY_CALLER)
        here.hold(0, STABLE)
        assert (await here.status())[::2] == (200, STABLE)
        await until(lambda: here.outcomes(CANARY) == {"fallback": 1})
        await until(lambda: here.outcomes(STABLE) == {})
        (canary,) = here.frontend.means.traffic.canaries()
        assert (canary.requests, canary.failures) == (1, 1)


@pytest.mark.parametrize("fault", ["503", "absent"])
async def test_a_canary_that_no_pod_can_answer_for_is_stood_in_for(tmp_path, fault):
    async with desk(tmp_path) as here:
        here.route(**EVERY_CALLER)
        if fault == "absent":
            here.engine.behaviour.versions = [STABLE]
        else:
            here.engine.behaviour.fault, here.engine.behaviour.faulty = fault, [CANARY]
        assert (await here.status())[::2] == (200, STABLE)
        await until(lambda: here.outcomes(CANARY) == {"fallback": 1})


async def test_without_a_pod_for_stable_nobody_answers_and_never_the_base(tmp_path):
    async with desk(tmp_path) as here:
        here.hold(0)
        async with here.ask() as reply:
            assert reply.status == 503
            assert int(reply.headers["Retry-After"]) > 0
            assert (await reply.json())["error"]["code"] == "model_unavailable"
        assert here.engine.asked == {}
        await until(lambda: here.outcomes() == {"error": 1})


async def test_an_engine_that_says_not_found_becomes_a_503_of_ours(tmp_path):
    async with desk(tmp_path) as here:
        here.engine.behaviour.versions = []
        status, body, _ = await here.status()
        assert (status, body["error"]["code"]) == (503, "model_unavailable")
        await until(lambda: here.outcomes() == {"error": 1})


async def test_an_engines_own_error_is_passed_on_without_the_version(tmp_path):
    async with desk(tmp_path) as here:
        here.engine.behaviour.fault = "500"
        status, body, version = await here.status()
        assert (status, body["error"]["message"], version) == (500, f"{ALIAS} failed", STABLE)
        await until(lambda: here.outcomes() == {"error": 1})
        assert here.engine.asked == {STABLE: 1}


async def test_a_silent_engine_is_a_timeout_and_is_asked_once(tmp_path):
    async with desk(tmp_path, silence_seconds=0.2) as here:
        here.engine.behaviour.fault = "silent"
        status, body, _ = await here.status()
        assert (status, body["error"]["code"]) == (504, "upstream_timeout")
        assert here.engine.asked == {STABLE: 1}
        await until(lambda: here.engine.aborted == 1)


@pytest.mark.parametrize("fault", ["cut", "unframed"])
async def test_a_stream_that_breaks_off_is_seen_to_break_off(tmp_path, fault):
    async with desk(tmp_path) as here:
        here.engine.behaviour.fault = fault
        async with here.ask(stream=True) as reply:
            assert reply.status == 200
            with pytest.raises(aiohttp.ClientPayloadError):
                await reply.read()
        await until(lambda: here.outcomes() == {"error": 1})


async def test_a_whole_answer_that_breaks_off_is_an_error(tmp_path):
    async with desk(tmp_path) as here:
        here.engine.behaviour.fault = "cut"
        assert (await here.status())[0] == 502
        await until(lambda: here.outcomes() == {"error": 1})


async def test_a_stream_cut_before_its_first_byte_is_asked_again(tmp_path):
    async with desk(tmp_path, [Behaviour(versions=[STABLE], fault="cut", cut_after=0), Behaviour(versions=[STABLE])]) as here:
        for _ in range(10):
            async with here.ask(stream=True) as reply:
                assert (await reply.read()).endswith(b"[DONE]\n\n")
        assert here.count("retries_total", cause="disconnected") >= 1
        await until(lambda: here.outcomes() == {"ok": 10})


async def test_a_client_who_leaves_frees_the_engine(tmp_path):
    async with desk(tmp_path, [Behaviour(versions=[STABLE], gap=0.05, tokens=10_000)]) as here:
        reply = await here.ask(stream=True)
        await reply.content.readany()
        reply.close()
        await until(lambda: here.engine.aborted == 1)
        await until(lambda: here.outcomes() == {"aborted": 1})
        await until(lambda: here.frontend.admission.requests == 0)


async def test_a_client_who_leaves_before_the_first_token_frees_the_engine(tmp_path):
    async with desk(tmp_path, [Behaviour(versions=[STABLE], first_token=60.0)]) as here:
        asking = asyncio.create_task(here.status())
        await until(lambda: here.engine.asked == {STABLE: 1})
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        await until(lambda: here.engine.aborted == 1)
        await until(lambda: here.outcomes() == {"aborted": 1})


async def test_a_client_who_does_not_read_holds_the_engine_back_and_then_loses_its_place(tmp_path):
    async with desk(tmp_path, [Behaviour(versions=[STABLE], answer=("y" * 20_000 + " ") * 3000)], stall_seconds=0.5) as here:
        reply = await here.ask(stream=True)
        await until(lambda: here.engine.aborted == 1)
        await until(lambda: here.outcomes() == {"aborted": 1})
        reply.close()
