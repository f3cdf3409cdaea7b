"""A pod in small: a volume with published adapters, a fake engine, and a real agent between them."""

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.engines.artifacts import BASE_CONFIG, BASE_DIGEST, BASE_NAME, AdapterFiles, Published, publish
from tests.engines.forked import Process, until
from tests.engines.ports import free_port


class Pod:
    """``engine_options`` are used at every start of the engine; the port stays the same."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.volume = folder / "volume"
        self.base = folder / "base"
        self.base.mkdir()
        (self.base / "config.json").write_text(json.dumps(BASE_CONFIG), encoding="utf-8")
        self.store = folder / "store"
        self.desired_file = folder / "desired.json"
        self.engine_options: list[str] = []
        self.engine_port = free_port()
        self._engine: Process | None = None
        self._agent: Process | None = None

    @property
    def engine(self) -> Process:
        assert self._engine is not None
        return self._engine

    @property
    def agent(self) -> Process:
        assert self._agent is not None
        return self._agent

    def publish(self, seed: int, **changes: Any) -> Published:
        return publish(AdapterFiles(seed=seed, **changes), self.volume)

    def start_engine(self, *options: str) -> None:
        """The first one listens when this returns."""
        self.engine_options, first = list(options) or self.engine_options, self._engine is None
        arguments = ["--port", str(self.engine_port), "--served-model-name", BASE_NAME]
        self._engine = Process("engine", [*arguments, *self.engine_options], self.folder / "engine.log")
        assert not first or self._engine.port

    def start_agent(self, *options: str, source: Sequence[str] | None = None) -> None:
        arguments = ["--port", "0", "--address", "127.0.0.1", *(source or ("--desired", str(self.desired_file)))]
        places = ["--store", self.store, "--state", self.folder / "state", "--base-model", self.base]
        engine = ["--engine-url", f"http://127.0.0.1:{self.engine_port}", "--claim", f"adapters={self.volume}"]
        self._agent = Process("agent", [*arguments, *map(str, places), *engine, *options], self.folder / "agent.log")

    def want(
        self, *versions: tuple[Published, str] | dict[str, Any], generation: int = 1, max_cpu_loras: int = 4, require_effect: bool = True
    ) -> None:
        entries = [
            entry if isinstance(entry, dict) else {"name": entry[0].name(entry[1]), "uri": entry[0].uri, "digest": entry[0].digest}
            for entry in versions
        ]
        document = {
            "generation": generation,
            "base": {"name": BASE_NAME, "digest": BASE_DIGEST},
            "engine": {"kind": "vLLM", "limits": {"maxLoras": 2, "maxCpuLoras": max_cpu_loras, "maxLoraRank": 64}},
            "requireEffect": require_effect,
            "versions": entries,
        }
        fresh = self.desired_file.with_suffix(".new")
        fresh.write_text(json.dumps(document), encoding="utf-8")
        fresh.replace(self.desired_file)

    def status(self) -> dict[str, Any]:
        return dict(json.loads(self.agent.get("/status")[1]))

    def version(self, name: str) -> dict[str, Any]:
        return next((entry for entry in self.status()["versions"] if entry["name"] == name), {})

    def ready(self) -> bool:
        return self.agent.get("/readyz")[0] == 200

    def listed(self) -> dict[str, str]:
        answer = self.engine.get("/v1/models")[1]
        return {model["id"]: model["root"] for model in json.loads(answer)["data"] if model["parent"]}

    def engine_record(self) -> dict[str, Any]:
        return dict(json.loads(self.engine.get("/faults")[1]))

    def fault(self, **changes: Any) -> None:
        status, body = self.engine.post("/faults", changes)
        assert status == 200, body

    def until_ready(self) -> None:
        until(self.ready, bool, f"pod ready: {self.agent.get('/readyz')[1]}")

    def until_version(self, name: str, wanted: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
        return until(lambda: self.version(name), lambda found: bool(found) and wanted(found), f"version {name}")

    def until_metric(self, line: str) -> None:
        until(lambda: self.agent.get("/metrics")[1], lambda text: line in text, line)

    def close(self) -> None:
        for process in (self._agent, self._engine):
            if process is not None:
                process.kill()


@pytest.fixture
def pod(tmp_path: Path) -> Iterator[Pod]:
    made = Pod(tmp_path)
    try:
        yield made
    finally:
        made.close()
