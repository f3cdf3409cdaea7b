"""Starts fake engines and agents as processes, and asks them over HTTP.

They are forked from one process that has imported everything: a start costs a hundredth of a second instead of half a one, and each is
still a process with a start time, memory and ports of its own.
"""

import json
import multiprocessing
import os
import signal
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")
GUARD = 300.0
"""Seconds after which a condition is given up; nothing is measured by it."""

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["tests.engines.fake_vllm", "finetune_inference.cli.agent", "finetune_inference.cli.main"])


class Process:
    """``engine`` or ``agent`` with a command line; it prints ``{"port": …}`` when it listens, on ``host``."""

    def __init__(self, program: str, arguments: list[str], log: Path, host: str = "127.0.0.1") -> None:
        self.host = host
        self._log = log
        self._said = log.with_name(f"{log.stem}.{time.monotonic_ns()}.out")
        self._process = _CONTEXT.Process(target=_run, args=(program, arguments, str(self._said), str(log)))
        self._process.start()
        self._port: int | None = None

    @property
    def port(self) -> int:
        """Waits until the process listens."""
        if self._port is None:
            line = until(self._first_line, bool, "listening")
            self._port = int(json.loads(line)["port"])
        return self._port

    def _first_line(self) -> str:
        said = self._said.read_text(encoding="utf-8") if self._said.exists() else ""
        assert said or self.running, f"ended with {self._process.exitcode} before it listened: {self.log()[-2000:]}"
        return said if said.endswith("\n") else ""

    @property
    def running(self) -> bool:
        return self._process.is_alive()

    def kill(self) -> None:
        """``kill -9``, and wait for its last thread."""
        self._end(signal.SIGKILL)

    def terminate(self) -> int | None:
        return self._end(signal.SIGTERM)

    def _end(self, number: signal.Signals) -> int | None:
        if self.running and self._process.pid is not None:
            os.kill(self._process.pid, number)
        self._process.join(GUARD)
        return self._process.exitcode

    def get(self, path: str) -> tuple[int, str]:
        return request("GET", f"http://{self.host}:{self.port}{path}")

    def post(self, path: str, content: dict[str, Any]) -> tuple[int, str]:
        return request("POST", f"http://{self.host}:{self.port}{path}", content)

    def log(self) -> str:
        return self._log.read_text(encoding="utf-8") if self._log.exists() else ""


def _run(program: str, arguments: list[str], said: str, log: str) -> None:
    """What a forked process does."""
    from finetune_inference.cli.main import main
    from tests.engines import fake_vllm

    for descriptor, path in ((1, said), (2, log)):
        opened = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(opened, descriptor)
        os.close(opened)
    sys.exit(fake_vllm.main(arguments) if program == "engine" else main([program, *arguments]))


def request(method: str, url: str, content: dict[str, Any] | None = None) -> tuple[int, str]:
    """Status and body; 0 if nobody answers."""
    body = json.dumps(content).encode() if content is not None else None
    asked = urllib.request.Request(url, data=body, method=method, headers={"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(asked, timeout=GUARD) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except (urllib.error.URLError, ConnectionError):
        return 0, ""


def until(read: Callable[[], T], wanted: Callable[[T], object], what: str) -> T:
    """Read until it is as wanted; fails with what was read last."""
    end = time.monotonic() + GUARD
    found = read()
    while not wanted(found):
        assert time.monotonic() < end, f"{what}: still {found}"
        time.sleep(0.02)
        found = read()
    return found
