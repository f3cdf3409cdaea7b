"""Copies that nobody sees, and answers that are checked."""

import asyncio
import json

from finetune_inference.router import sampling
from tests.engines.processes import CANARY, STABLE
from tests.engines.synthetic import Behaviour
from tests.serving.router.desk import desk, until

SCHEMA = json.dumps({"type": "object", "required": ["team"]})


async def test_a_shadowed_request_is_copied_to_the_canary_and_stable_answers(tmp_path):
    async with desk(tmp_path) as here:
        here.route(canary=CANARY, shadow={"percent": 100, "maxConcurrent": 4})
        assert (await here.status())[::2] == (200, STABLE)
        async with here.ask(stream=True) as reply:
            await reply.read()
        await until(lambda: here.outcomes(CANARY, "shadow") == {"ok": 2})
        await until(lambda: here.outcomes(CANARY) == {})
        assert here.count("ttft_seconds_count", version=CANARY, track="shadow") == 1


async def test_a_percentage_of_requests_is_copied(tmp_path):
    async with desk(tmp_path) as here:
        here.route(canary=CANARY, shadow={"percent": 1, "maxConcurrent": 4})
        for _ in range(40):
            await here.status()
        assert here.engine.asked[CANARY] < 20


async def test_copies_are_capped_and_hold_nobody_up(tmp_path):
    async with desk(tmp_path) as here:
        here.engine.behaviour.fault, here.engine.behaviour.faulty = "silent", [CANARY]
        here.route(canary=CANARY, shadow={"percent": 100, "maxConcurrent": 2})
        assert [status for status, *_ in await asyncio.gather(*(here.status() for _ in range(10)))] == [200] * 10
        await until(lambda: here.engine.asked[CANARY] == 2)
        assert here.count("shadow_dropped_total") == 8
        assert here.frontend.means.traffic.canaries() == ()


async def test_a_copy_that_fails_counts_on_its_own_track_only(tmp_path):
    async with desk(tmp_path) as here:
        here.engine.behaviour.fault, here.engine.behaviour.faulty = "500", [CANARY]
        here.route(canary=CANARY, shadow={"percent": 100})
        assert (await here.status())[0] == 200
        await until(lambda: here.outcomes(CANARY, "shadow") == {"error": 1})
        await until(lambda: here.outcomes(CANARY) == {})


async def test_answers_are_checked_streamed_or_not(tmp_path):
    async with desk(tmp_path, [Behaviour(versions=[STABLE, CANARY], answer='{"team": "red"}')]) as here:
        here.route(schema_check={"outputSchema": SCHEMA})
        await here.status()
        async with here.ask(stream=True) as reply:
            await reply.read()
        await until(lambda: here.count("checks_total", version=STABLE, track="live", outcome="valid") == 2)
        here.engine.behaviour.answer = '{"teem": "red"}'
        await here.status()
        await until(lambda: here.count("checks_total", version=STABLE, track="live", outcome="invalid") == 1)


async def test_an_answer_too_long_to_check_is_counted_as_dropped(tmp_path):
    async with desk(tmp_path, [Behaviour(versions=[STABLE], answer=("x" * 10_000 + " ") * 40)]) as here:
        here.route(schema_check={"outputSchema": SCHEMA})
        async with here.ask(stream=True) as reply:
            await reply.read()
        await until(lambda: here.count("checks_dropped_total") == 1)
        await until(lambda: here.outcomes() == {"ok": 1})


async def test_answers_that_are_kept_at_a_time_are_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(sampling, "KEPT_AT_ONCE", 2)
    async with desk(tmp_path, [Behaviour(versions=[STABLE], answer="{ }", first_token=0.05, gap=0.05)]) as here:
        here.route(schema_check={"outputSchema": SCHEMA})

        async def one() -> None:
            async with here.ask(stream=True) as reply:
                await reply.read()

        await asyncio.gather(*(one() for _ in range(6)))
        await until(lambda: here.count("checks_total", outcome="invalid") == 2)
        assert here.count("checks_dropped_total") == 4
        await one()
        await until(lambda: here.count("checks_total", outcome="invalid") == 3)


async def test_nothing_of_an_answer_is_in_the_counters(tmp_path):
    async with desk(tmp_path, [Behaviour(versions=[STABLE], answer="confidential")]) as here:
        here.route(schema_check={"outputSchema": SCHEMA})
        await here.status(user="somebody")
        await until(lambda: here.count("checks_total", outcome="invalid") == 1)
        async with here.client.get(here.url + "/health") as reply:
            assert reply.status == 200
        from prometheus_client import generate_latest

        text = generate_latest(here.registry).decode()
        assert "confidential" not in text
        assert "somebody" not in text
