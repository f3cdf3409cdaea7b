"""Real router and engine processes, as a user starts them, and what a test asks of them."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from finetune_inference.contract import Acknowledgement, Endpoint, Route, RouteTable, version_name

T = TypeVar("T")
PATIENCE = 120.0
ALIAS = "tickets"
STABLE = version_name(ALIAS, "sha256:" + "a" * 64)
CANARY = version_name(ALIAS, "sha256:" + "b" * 64)


def until(look: Callable[[], T], seconds: float = PATIENCE, every: float = 0.02) -> T:
    """The first true answer; fails with the last one."""
    deadline = time.monotonic() + seconds
    while not (answer := look()):
        assert time.monotonic() < deadline, f"still {answer!r} after {seconds} s"
        time.sleep(every)
    return answer


def get(url: str, body: Any = None, headers: dict[str, str] | None = None) -> tuple[int, bytes]:
    """Status and body, whatever the status."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data=data, headers={"Content-Type": "application/json"} | (headers or {}))
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


@dataclass
class EngineProcess:
    """A synthetic engine."""

    process: subprocess.Popen[str]
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def change(self, **behaviour: Any) -> None:
        assert get(f"{self.url}/synthetic", behaviour)[0] == 200

    def told(self) -> dict[str, Any]:
        return dict(json.loads(get(f"{self.url}/synthetic")[1]))


@contextmanager
def engine(versions: Sequence[str] = (STABLE, CANARY), port: int = 0, **options: float | str) -> Iterator[EngineProcess]:
    flags = [part for name, value in options.items() for part in (f"--{name.replace('_', '-')}", str(value))]
    command = [sys.executable, "-m", "tests.engines.synthetic", "--port", str(port), "--versions", ",".join(versions), *flags]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield EngineProcess(process, int(process.stdout.readline()))
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


@dataclass
class RouterProcess:
    """A started router; tables are written as a writer of files should: whole, then renamed."""

    process: subprocess.Popen[bytes]
    folder: Path
    port: int = 0
    admin_port: int = 0
    host: str = "127.0.0.1"

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    @property
    def logs(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.folder / "log").read_text().rpartition("\n")[0].splitlines() if line.startswith("{")]

    def admin(self, path: str) -> tuple[int, str]:
        status, body = get(f"http://{self.host}:{self.admin_port}{path}")
        return status, body.decode()

    def acknowledged(self) -> Acknowledgement:
        return Acknowledgement.from_json(self.admin("/routes")[1])

    def generation(self, alias: str = ALIAS) -> int:
        return next((route.generation for route in self.acknowledged().routes if route.alias == alias), 0)

    def apply(self, table: RouteTable) -> None:
        """Write a table and wait until every worker applies it."""
        write_table(self.folder, table)
        wanted = {(route.alias, route.generation) for route in table.routes}
        until(lambda: {(route.alias, route.generation) for route in self.acknowledged().routes} == wanted)

    def workers(self) -> list[int]:
        """Process ids of the workers."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return [int(pid) for pid in children.split()]

    def kill(self) -> None:
        """``kill -9`` of the supervisor and of every worker, as of a container."""
        for pid in (self.process.pid, *self.workers()):
            os.kill(pid, signal.SIGKILL)
        self.process.wait()

    def count(self, name: str, **labels: str) -> float:
        """Sum of a family's samples with these labels."""
        return sum(value for found, value in samples(self.admin("/metrics")[1], name) if labels.items() <= found.items())

    def outcomes(self, version: str, track: str = "live") -> dict[str, float]:
        found = samples(self.admin("/metrics")[1], "adapter_router_requests_total")
        return {labels["outcome"]: value for labels, value in found if labels["version"] == version and labels["track"] == track and value}


def samples(text: str, name: str) -> list[tuple[dict[str, str], float]]:
    from prometheus_client.parser import text_string_to_metric_families

    return [(dict(s.labels), s.value) for family in text_string_to_metric_families(text) for s in family.samples if s.name == name]


def write_table(folder: Path, table: RouteTable) -> None:
    fresh = folder / "table.new"
    fresh.write_text(table.to_json())
    fresh.replace(folder / "table.json")


def table_of(engines: Sequence[EngineProcess], generation: int = 1, **route: Any) -> RouteTable:
    """One alias, stable and perhaps a canary."""
    defaults = {"stable": STABLE, "versions": [STABLE, CANARY]}
    routes = [Route(deployment="dep", alias=ALIAS, generation=generation, **(defaults | route))]
    endpoints = [Endpoint(deployment="dep", pod=f"pod-{number}", url=one.url) for number, one in enumerate(engines)]
    return RouteTable(namespace="team", routes=routes, endpoints=endpoints)


@contextmanager
def router(
    folder: Path,
    *options: str,
    workers: int = 2,
    ready: bool = True,
    source: Sequence[str] | None = None,
    host: str = "127.0.0.1",
    port: int = 0,
    admin_port: int = 0,
) -> Iterator[RouterProcess]:
    """A router; without another source `table.json` in its folder is one."""
    folder.mkdir(exist_ok=True)
    source = source if source is not None else ("--table", str(folder / "table.json"))
    command = [sys.executable, "-m", "tests.engines.route", *source, "--state-dir", str(folder / "state")]
    command += ["--address", host, "--port", str(port), "--admin-port", str(admin_port)]
    command += ["--workers", str(workers), "--poll-seconds", "0.5", *options]
    with ExitStack() as stack:
        log = stack.enter_context((folder / "log").open("wb"))
        process = subprocess.Popen(command, stderr=log, env=os.environ)
        here = RouterProcess(process, folder, host=host)
        try:
            ports = until(lambda: _ports(here))
            here.port, here.admin_port = ports["port"], ports["admin_port"]
            if ready:
                until(lambda: here.admin("/readyz")[0] == 200)
            yield here
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                try:
                    process.wait(PATIENCE)
                except subprocess.TimeoutExpired:
                    process.kill()
            process.wait()


def _ports(here: RouterProcess) -> dict[str, Any] | None:
    assert here.process.poll() is None, (here.folder / "log").read_text()
    return next((line for line in here.logs if line["message"] == "the router listens"), None)
