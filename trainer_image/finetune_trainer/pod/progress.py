"""What a running step tells about itself: ``/progress`` for the operator, ``/metrics`` for Prometheus, ``/healthz`` for a probe.

Served by a thread of the step itself, so that it is true and costs nothing when nobody asks. ``/progress`` wants the bearer token whose
hash is in the run spec: who may read pods of a namespace may not read losses of a run. The other two hold no secret.
"""

import hashlib
import hmac
import math
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from finetune_trainer.contract import PROGRESS_PORT, ProgressReport, TrackerReport
from finetune_trainer.contract.progress import Phase

WINDOW = 64
"""Steps over which rates are taken."""
ENOUGH = 5
"""Steps of this attempt before a remaining time is told: the first ones are slower than the rest."""
_BEARER = "Bearer "
_PROXIED = "X-Finetune-Authorization"
"""The API server's pod proxy drops ``Authorization``; an operator outside the cluster sends the same in this header."""
_TIMEOUT_SECONDS = 10
PREFIX = "finetune_trainer"
_LARGEST = 1e308


@dataclass(frozen=True)
class _Mark:
    seconds: float
    step: int
    tokens: int


class ProgressState:
    """The latest numbers of this attempt; written by the step, read by the server's threads."""

    def __init__(
        self,
        run_key: str,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._lock = threading.Lock()
        self._clock = clock
        self._now = now
        self._marks: deque[_Mark] = deque(maxlen=WINDOW)
        self._gradient_norm: float | None = None
        self._checkpoints = 0
        self._report = ProgressReport(run_key=run_key, phase="Starting", updated_at=self._stamp())

    def enter(self, phase: Phase) -> None:
        """A new phase begins; rates of the one before say nothing about it."""
        with self._lock:
            self._marks.clear()
            self._update(phase=phase, eta_seconds=None, tokens_per_second=None)

    def plan(self, total_steps: int, step: int = 0, tokens: int = 0, resumed_from_step: int | None = None) -> None:
        """Steps begin, at ``step`` of ``total_steps``."""
        with self._lock:
            self._marks.append(_Mark(self._clock(), step, tokens))
            self._update(total_steps=total_steps, step=step, tokens=tokens, resumed_from_step=resumed_from_step)

    def step(self, step: int, *, epoch: float, loss: float, learning_rate: float, tokens: int, gradient_norm: float | None = None) -> None:
        """One optimizer step is done; totals are the run's."""
        with self._lock:
            self._marks.append(_Mark(self._clock(), step, tokens))
            first, last = self._marks[0], self._marks[-1]
            elapsed, steps = last.seconds - first.seconds, last.step - first.step
            known = steps >= ENOUGH and elapsed > 0
            self._gradient_norm = gradient_norm
            self._update(
                step=step,
                epoch=decimal(epoch),
                loss=decimal(loss),
                learning_rate=decimal(learning_rate),
                tokens=tokens,
                tokens_per_second=round((last.tokens - first.tokens) / elapsed) if known else None,
                eta_seconds=round(max(0, self._report.total_steps - step) * elapsed / steps) if known else None,
            )

    def items(self, done: int, total: int) -> None:
        """Work that is counted in items instead of optimizer steps; its remaining time is told, its count is not a step."""
        with self._lock:
            self._marks.append(_Mark(self._clock(), done, 0))
            first, last = self._marks[0], self._marks[-1]
            elapsed, items = last.seconds - first.seconds, last.step - first.step
            known = items >= ENOUGH and elapsed > 0
            self._update(eta_seconds=round((total - done) * elapsed / items) if known else None)

    def evaluation(self, loss: float) -> None:
        with self._lock:
            self._update(evaluation_loss=decimal(loss))

    def tracked(self, report: TrackerReport) -> None:
        """What has become of what was told to a tracker."""
        with self._lock:
            self._update(tracker=report)

    def checkpoint(self, step: int) -> None:
        with self._lock:
            self._checkpoints += 1
            self._update(checkpoint_step=step)

    @property
    def report(self) -> ProgressReport:
        with self._lock:
            return self._report

    def collect(self) -> Iterator[Metric]:
        """The same numbers as Prometheus metrics: one series each, however long a run lasts."""
        with self._lock:
            report, norm, checkpoints = self._report, self._gradient_norm, self._checkpoints
        gauges: list[tuple[str, str, float | str | None]] = [
            ("step", "Optimizer steps done.", report.step),
            ("planned_steps", "Optimizer steps of the whole run.", report.total_steps),
            ("epoch", "Passes over the dataset.", report.epoch),
            ("loss", "Mean loss over the last steps, in nats per token.", report.loss),
            ("evaluation_loss", "Loss on held-out rows, in nats per token.", report.evaluation_loss),
            ("learning_rate", "Learning rate of the last step.", report.learning_rate),
            ("gradient_norm", "Norm of the gradient before clipping.", norm),
            ("tokens_per_second", "Tokens fed per second over the last steps.", report.tokens_per_second),
            ("eta_seconds", "Estimated seconds until the current phase ends.", report.eta_seconds),
            ("checkpoint_step", "Step of the newest sealed checkpoint.", report.checkpoint_step),
        ]
        for name, text, value in gauges:
            if value is not None:
                yield GaugeMetricFamily(f"{PREFIX}_{name}", text, value=float(value))
        yield CounterMetricFamily(f"{PREFIX}_tokens", "Tokens fed over all attempts.", value=report.tokens)
        yield CounterMetricFamily(f"{PREFIX}_checkpoints", "Checkpoints sealed by this attempt.", value=checkpoints)
        phase = GaugeMetricFamily(f"{PREFIX}_phase", "1 for the phase the step is in.", labels=["phase"])
        phase.add_metric([report.phase], 1)
        yield phase

    def _update(self, **changes: object) -> None:
        self._report = self._report.model_copy(update={**changes, "updated_at": self._stamp()})

    def _stamp(self) -> str:
        return self._now().isoformat(timespec="seconds").replace("+00:00", "Z")


def decimal(value: float) -> str:
    """A number as the contract spells it: six significant digits, never a float. What is no number counts as the largest one."""
    if not math.isfinite(value):
        value = -_LARGEST if value == -math.inf else _LARGEST
    return f"{value:.6g}".replace("e+", "e")


def start_progress_server(state: ProgressState, token_digest: str | None, port: int | None = None) -> ThreadingHTTPServer:
    """Serve in a daemon thread and return the server; ``port`` defaults to ``$FINETUNE_PROGRESS_PORT``, 0 takes any free one.

    Raises ``OSError`` if the port is taken.
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(state)
    ProcessCollector(namespace=PREFIX, registry=registry)
    wanted = int(os.environ.get("FINETUNE_PROGRESS_PORT") or PROGRESS_PORT) if port is None else port
    server = _Server(("", wanted), _handler(state, registry, token_digest))
    threading.Thread(target=server.serve_forever, name="progress", daemon=True).start()
    return server


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 16

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away in the middle is none of the run's business."""


def _handler(state: ProgressState, registry: CollectorRegistry, token_digest: str | None) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        server_version = "finetune-trainer"
        sys_version = ""
        timeout = _TIMEOUT_SECONDS

        def do_GET(self) -> None:
            path = self.path.split("?", 1)[0]
            if path == "/healthz":
                self._answer(200, "text/plain; charset=utf-8", b"ok\n")
            elif path == "/metrics":
                self._answer(200, CONTENT_TYPE_LATEST, generate_latest(registry))
            elif path != "/progress":
                self._answer(404, "text/plain; charset=utf-8", b"there are /progress, /metrics and /healthz\n")
            elif not admits(self.headers.get("Authorization") or self.headers.get(_PROXIED), token_digest):
                self._answer(401, "text/plain; charset=utf-8", b"a bearer token of this run is needed\n")
            else:
                self._answer(200, "application/json", state.report.to_json().encode())

        def _answer(self, status: int, kind: str, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Cache-Control", "no-store")
            if status == 401:
                self.send_header("WWW-Authenticate", "Bearer")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
            """Requests are not events of the run."""

    return Handler


def admits(authorization: str | None, token_digest: str | None) -> bool:
    """Whether the header carries the token whose digest is known; compared in constant time. Without a digest everybody may read."""
    if token_digest is None:
        return True
    if authorization is None or not authorization.startswith(_BEARER):
        return False
    found = "sha256:" + hashlib.sha256(authorization[len(_BEARER) :].encode("utf-8", "replace")).hexdigest()
    return hmac.compare_digest(found, token_digest)
