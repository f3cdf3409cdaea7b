"""A real MLflow tracking server on a database of its own, and what it has stored, read with MLflow's own client."""

import json
import os
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.engines.processes import until

SILENT = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "1"}


@dataclass(frozen=True)
class MlflowProcess:
    port: int
    folder: Path

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def ask(self, call: str, body: dict[str, Any]) -> dict[str, Any]:
        request = urllib.request.Request(
            f"{self.uri}/api/2.0/mlflow/{call}", json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=300) as answer:
            return dict(json.load(answer))

    def runs(self, experiment: str) -> list[dict[str, Any]]:
        with urllib.request.urlopen(
            f"{self.uri}/api/2.0/mlflow/experiments/get-by-name?experiment_name={experiment}", timeout=300
        ) as answer:
            found = json.load(answer)["experiment"]["experiment_id"]
        return list(self.ask("runs/search", {"experiment_ids": [found]}).get("runs", []))

    def history(self, run: dict[str, Any], metric: str) -> list[dict[str, Any]]:
        path = f"metrics/get-history?run_id={run['info']['run_id']}&metric_key={metric}&max_results=5000"
        with urllib.request.urlopen(f"{self.uri}/api/2.0/mlflow/{path}", timeout=300) as answer:
            return list(json.load(answer).get("metrics", []))

    def stored(self) -> bytes:
        """Every byte that it has written."""
        return b"".join(path.read_bytes() for path in self.folder.rglob("*") if path.is_file())


@contextmanager
def mlflow_server(folder: Path) -> Iterator[MlflowProcess]:
    """Ready to answer, which takes five seconds of a processor."""
    folder.mkdir()
    with socket.socket() as listening, (folder / "log").open("wb") as log:
        listening.bind(("127.0.0.1", 0))
        listening.listen(64)
        environment = {**os.environ, **SILENT, "_MLFLOW_SERVER_FILE_STORE": f"sqlite:///{folder}/tracked.db"}
        environment["_MLFLOW_SERVER_ARTIFACT_ROOT"] = str(folder / "artifacts")
        command = [
            sys.executable,
            "-m",
            "uvicorn",
            "mlflow.server.fastapi_app:app",
            "--fd",
            str(listening.fileno()),
            "--log-level",
            "warning",
        ]
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log, pass_fds=[listening.fileno()])
        try:
            server = MlflowProcess(listening.getsockname()[1], folder)
            until(lambda: process.poll() is None and "experiments" in server.ask("experiments/search", {"max_results": 1}))
            yield server
        finally:
            process.kill()  # it has nothing to keep
            process.wait()
