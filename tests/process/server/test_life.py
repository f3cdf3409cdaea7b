"""From start to end: options that cannot be honoured, a full queue, and a stop that finishes what is in flight."""

import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.process.server.conftest import GUARD, Forge, Server, until

LONG: Any = {"model": "base", "prompt": "hi", "max_tokens": 900, "temperature": 0, "ignore_eos": True}


def test_a_full_queue_says_when_to_come_back_and_a_stop_finishes_what_is_in_flight(
    start_server: Callable[..., Server],
) -> None:
    server = start_server("--max-num-seqs", "1", "--max-waiting", "1")
    with ThreadPoolExecutor(2) as clients:
        running = clients.submit(server.ask, "/v1/completions", LONG)
        until(lambda: server.metric("vllm:num_requests_running") == 1, "it runs")
        waiting = clients.submit(server.ask, "/v1/completions", {**LONG, "max_tokens": 5})
        until(lambda: server.metric("vllm:num_requests_waiting") == 1, "it waits")
        full = server.ask("/v1/completions", LONG)
        assert (full.status, full.error["type"], full.headers["retry-after"]) == (503, "ServiceUnavailableError", "1")
        server.process.signal(signal.SIGTERM)
        until(lambda: server.ask("/health").status == 503, "it drains")
        assert not running.done()
        assert server.ask("/v1/completions", LONG).status == 503
        assert running.result(GUARD).json["usage"]["completion_tokens"] == 900
        assert waiting.result(GUARD).status == 200
    assert server.process.wait() == 0
    events = server.process.events()
    assert [event["event"] for event in events] == ["listening", "draining", "stopped"]
    assert events[-1]["unfinished"] == 0


def test_what_does_not_end_by_the_deadline_is_cut(start_server: Callable[..., Server]) -> None:
    server = start_server("--shutdown-timeout", "0")
    with ThreadPoolExecutor(1) as clients:
        running = clients.submit(server.ask, "/v1/completions", LONG)
        until(lambda: server.metric("vllm:num_requests_running") == 1, "it runs")
        server.process.signal(signal.SIGTERM)
        assert server.process.wait() == 0
        assert running.result(GUARD).status == 503
    assert server.process.events()[-1]["event"] == "stopped"


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--model", "/no/such/model"], "--model: /no/such/model has no config.json"),
        (["--max-model-len", "4096"], "--max-model-len: 4096 is above the 1024"),
        (["--max-total-tokens", "64"], "--max-total-tokens: 64 is less than"),
        (["--lora", "a=/no/such/adapter"], "--lora a=/no/such/adapter: lora_path: there is no folder"),
    ],
)
def test_options_that_cannot_be_honoured_end_with_two_and_the_reason(forge: Forge, tiny_base: Path, flags: list[str], words: str) -> None:
    process = forge.start("--model", str(tiny_base), *flags)
    assert process.wait() == 2
    assert words in process.err.read_text()
