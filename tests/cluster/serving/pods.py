"""Server pods in small: an engine and its agent at an address of their own, as real processes."""

import json
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from tests.engines.artifacts import BASE_CONFIG, BASE_NAME
from tests.engines.forked import Process, request, until
from tests.process.server.conftest import Forge
from tests.process.server.conftest import Process as ServerProcess

ENGINE_PORT, AGENT_PORT = 8000, 8090


class Killable(Protocol):
    """A process that can be ended as a kernel ends one."""

    def kill(self) -> None: ...


@dataclass(frozen=True)
class EngineProgram:
    """How an engine is started, at an address and with a folder for its log; it listens when that returns.

    ``base`` is the folder of its base model; adapters are loaded at ``admin_port``.
    """

    start: Callable[[str, Path], Killable]
    base: Path
    admin_port: int = ENGINE_PORT


def fake_engine(folder: Path, *options: str) -> EngineProgram:
    """The repository's fake of vLLM; its base model, of which only the shapes exist, is written to ``folder``."""
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(BASE_CONFIG))

    def start(ip: str, place: Path) -> Process:
        arguments = ["--address", ip, "--port", str(ENGINE_PORT), "--served-model-name", BASE_NAME, "--max-cpu-loras", "12", *options]
        engine = Process("engine", arguments, place / "engine.log", ip)
        assert engine.port == ENGINE_PORT
        return engine

    return EngineProgram(start, folder)


@dataclass(frozen=True)
class _OurServer:
    process: ServerProcess

    def kill(self) -> None:
        if not self.process.ended:
            self.process.signal(signal.SIGKILL)
        self.process.wait()


def our_engine(forge: Forge, base: Path) -> EngineProgram:
    """The inference server of ours, with a base model of its own."""

    def start(ip: str, _place: Path) -> _OurServer:
        addresses = ["--host", ip, "--port", str(ENGINE_PORT), "--admin-host", ip, "--admin-port", str(ENGINE_PORT + 1)]
        process = forge.start("--model", str(base), "--served-model-name", BASE_NAME, *addresses)
        until(process.events, lambda said: said or process.ended, "listening")
        assert process.events(), process.err.read_text()
        return _OurServer(process)

    return EngineProgram(start, base, ENGINE_PORT + 1)


def held(program: EngineProgram) -> EngineProgram:
    """The same fake engine, in which no load ends before the test says so."""

    def start(ip: str, place: Path) -> Killable:
        engine = program.start(ip, place)
        assert request("POST", f"http://{ip}:{ENGINE_PORT}/faults", {"hold_loads": True})[0] == 200
        return engine

    return replace(program, start=start)


class Server:
    """A pod. ``source`` tells the agent where its desired set is; ``claim`` is the folder behind pvc://adapters."""

    def __init__(self, name: str, ip: str, folder: Path, program: EngineProgram, *, source: Sequence[str], claim: Path) -> None:
        self.name = name
        self.ip = ip
        self.folder = folder
        self._program = program
        self._source = source
        self._claim = claim
        folder.mkdir()
        self.start_engine()
        self.start_agent()

    def start_engine(self) -> None:
        """At the same address as before; whatever it held is forgotten."""
        self.engine = self._program.start(self.ip, self.folder)

    def start_agent(self) -> None:
        """With the store and the state of the one before."""
        places = ["--store", self.folder / "store", "--state", self.folder / "state", "--base-model", self._program.base]
        engine = ["--engine-url", self.url, "--engine-admin-url", f"http://{self.ip}:{self._program.admin_port}"]
        arguments = [*self._source, *map(str, places), *engine, "--claim", f"adapters={self._claim}", "--audit-seconds", "1"]
        arguments += ["--address", self.ip, "--port", str(AGENT_PORT)]
        self.agent = Process("agent", arguments, self.folder / "agent.log", self.ip)
        assert self.agent.port == AGENT_PORT

    @property
    def url(self) -> str:
        return f"http://{self.ip}:{ENGINE_PORT}"

    def held(self) -> set[str]:
        """Names in the engine's own list, the base model's among them."""
        return {model["id"] for model in json.loads(request("GET", f"{self.url}/v1/models")[1])["data"]}

    def asked(self) -> dict[str, dict[str, int]]:
        """What the fake engine was asked for, by name: ``requests`` it could answer, and ``unknown`` ones, whose model it did not hold."""
        found = json.loads(request("GET", f"{self.url}/faults")[1])
        return {part: found[part] for part in ("requests", "unknown")}

    def fault(self, **changes: Any) -> None:
        """Change what the fake engine does."""
        status, body = request("POST", f"{self.url}/faults", changes)
        assert status == 200, body

    def kill(self) -> None:
        self.agent.kill()
        self.engine.kill()
