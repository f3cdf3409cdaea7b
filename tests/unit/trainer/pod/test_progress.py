"""What a running trainer tells, and to whom."""

import hashlib
import http.client
import json
import math
import shutil
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partialmethod
from http.server import ThreadingHTTPServer

import pytest
from prometheus_client.parser import text_string_to_metric_families
from pydantic import TypeAdapter

from finetune_trainer.contract import ProgressReport
from finetune_trainer.contract.base import Decimal
from finetune_trainer.pod.progress import ENOUGH, ProgressState, decimal, start_progress_server

TOKEN = "4f" * 32
DIGEST = "sha256:" + hashlib.sha256(TOKEN.encode()).hexdigest()


class Clock:
    """Time as the test tells it."""

    seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def state(clock: Clock) -> ProgressState:
    return ProgressState("a" * 64, clock, lambda: datetime(2030, 1, 2, tzinfo=UTC))


def steps(state: ProgressState, clock: Clock, first: int, last: int, seconds: float) -> None:
    for step in range(first, last + 1):
        clock.seconds += seconds
        state.step(step, epoch=step / 10, loss=2.0, learning_rate=1e-4, tokens=step * 100)


@pytest.fixture(autouse=True)
def ends_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server looks every half second whether it is to end; no test waits so long."""
    monkeypatch.setattr(ThreadingHTTPServer, "serve_forever", partialmethod(ThreadingHTTPServer.serve_forever, 0.01))


@pytest.fixture
def port(state: ProgressState) -> Iterator[int]:
    server = start_progress_server(state, DIGEST, port=0)
    yield server.server_address[1]
    server.shutdown()
    server.server_close()


def get(port: int, path: str, token: str | None = None) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", path, headers={"Authorization": f"Bearer {token}"} if token else {})
    response = connection.getresponse()
    return response.status, response.read().decode()


def test_no_remaining_time_is_told_before_enough_steps(state: ProgressState, clock: Clock) -> None:
    state.plan(100)
    steps(state, clock, 1, ENOUGH - 1, 2.0)
    assert state.report.eta_seconds is None
    steps(state, clock, ENOUGH, ENOUGH, 2.0)
    assert state.report.eta_seconds == (100 - ENOUGH) * 2
    assert state.report.tokens_per_second == 50


def test_a_resumed_attempt_takes_its_rate_from_its_own_steps(state: ProgressState, clock: Clock) -> None:
    clock.seconds = 5000
    state.plan(100, step=50, tokens=5000, resumed_from_step=50)
    steps(state, clock, 51, 60, 1.0)
    assert (state.report.eta_seconds, state.report.tokens_per_second, state.report.resumed_from_step) == (40, 100, 50)


def test_the_rate_follows_the_last_steps(state: ProgressState, clock: Clock) -> None:
    state.plan(1000)
    steps(state, clock, 1, 100, 1.0)
    steps(state, clock, 101, 200, 3.0)
    assert state.report.eta_seconds == 800 * 3


def test_a_new_phase_forgets_the_rate_of_the_last(state: ProgressState, clock: Clock) -> None:
    state.plan(100)
    steps(state, clock, 1, 20, 1.0)
    state.enter("Evaluating")
    assert state.report.eta_seconds is None
    for done in range(1, 11):
        clock.seconds += 0.5
        state.items(done, 40)
    assert state.report.eta_seconds == 15


@pytest.mark.parametrize("token", [None, "wrong", TOKEN + "0", DIGEST])
def test_progress_wants_the_token_of_the_run(token: str | None, port: int) -> None:
    status, body = get(port, "/progress", token)
    assert status == 401
    assert "step" not in body


def test_progress_is_a_report_of_the_contract(port: int, state: ProgressState, clock: Clock) -> None:
    state.enter("Training")
    state.plan(10)
    steps(state, clock, 1, 7, 1.0)
    state.evaluation(1.23456789)
    state.checkpoint(5)
    status, body = get(port, "/progress", TOKEN)
    report = ProgressReport.from_json(body)
    assert status == 200
    assert (report.phase, report.step, report.total_steps, report.checkpoint_step) == ("Training", 7, 10, 5)
    assert (report.loss, report.learning_rate, report.evaluation_loss) == ("2", "0.0001", "1.23457")
    assert json.loads(body)["updatedAt"] == "2030-01-02T00:00:00Z"


@pytest.mark.parametrize(
    ("value", "text"),
    [(1234567.0, "1.23457e06"), (1e-9, "1e-09"), (2.0, "2"), (math.nan, "1e308"), (math.inf, "1e308"), (-math.inf, "-1e308")],
)
def test_every_float_has_a_spelling_that_the_contract_takes(value: float, text: str) -> None:
    assert decimal(value) == text
    assert TypeAdapter(Decimal).validate_python(text) == text


def test_a_run_without_a_token_is_open(state: ProgressState) -> None:
    server = start_progress_server(state, None, port=0)
    assert get(server.server_address[1], "/progress")[0] == 200
    server.shutdown()
    server.server_close()


def test_health_and_metrics_are_open_and_nothing_else_is_there(port: int) -> None:
    assert get(port, "/healthz") == (200, "ok\n")
    assert get(port, "/metrics")[0] == 200
    assert get(port, "/")[0] == 404


def test_every_metric_has_our_prefix_and_the_number_of_series_does_not_grow(port: int, state: ProgressState, clock: Clock) -> None:
    state.plan(1000)
    steps(state, clock, 1, 10, 1.0)
    before = [sample.name for family in text_string_to_metric_families(get(port, "/metrics")[1]) for sample in family.samples]
    steps(state, clock, 11, 200, 1.0)
    after = [sample.name for family in text_string_to_metric_families(get(port, "/metrics")[1]) for sample in family.samples]
    assert before == after
    assert all(name.startswith("finetune_trainer_") for name in after)
    assert {"finetune_trainer_step", "finetune_trainer_tokens_total", "finetune_trainer_loss"} <= set(after)


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool (Debian package prometheus) is not installed")
def test_promtool_has_nothing_to_say(port: int, state: ProgressState, clock: Clock) -> None:
    state.plan(1000)
    steps(state, clock, 1, 10, 1.0)
    state.evaluation(1.5)
    state.checkpoint(5)
    promtool = shutil.which("promtool")
    assert promtool
    text = get(port, "/metrics")[1].encode()
    checked = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True, check=False)
    assert (checked.returncode, checked.stderr, checked.stdout) == (0, b"", b"")
