"""A real Prometheus over TLS that scrapes the targets it is told, every second."""

import json
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.engines.certificates import self_signed
from tests.engines.processes import until

SECONDS = 1


@dataclass(frozen=True)
class PrometheusProcess:
    """``ca`` is the authority that signed its certificate."""

    url: str
    ca: Path
    process: subprocess.Popen[bytes]

    def kill(self) -> None:
        """Nobody answers any more."""
        self.process.kill()
        self.process.wait()


def job(name: str, port: int, labels: Mapping[str, str], host: str = "127.0.0.1", **options: Any) -> dict[str, Any]:
    """One target with the labels that service discovery would give it."""
    return {"job_name": name, "static_configs": [{"targets": [f"{host}:{port}"], "labels": dict(labels)}], **options}


@contextmanager
def prometheus(folder: Path, jobs: Sequence[Mapping[str, Any]]) -> Iterator[PrometheusProcess]:
    folder.mkdir()
    _, ca = self_signed(folder, "prometheus")
    interval = {"scrape_interval": f"{SECONDS}s", "scrape_timeout": f"{SECONDS}s"}
    # What is valid JSON is valid YAML too.
    (folder / "prometheus.yml").write_text(json.dumps({"global": interval, "scrape_configs": list(jobs)}))
    (folder / "web.yml").write_text(json.dumps({"tls_server_config": {"cert_file": "server.crt", "key_file": "server.key"}}))
    command = ["prometheus", f"--config.file={folder}/prometheus.yml", f"--web.config.file={folder}/web.yml"]
    command += [f"--storage.tsdb.path={folder}/data", "--web.listen-address=127.0.0.1:0"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        yield PrometheusProcess(f"https://127.0.0.1:{until(lambda: _port(process, folder))}", ca, process)
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _port(process: subprocess.Popen[bytes], folder: Path) -> int:
    log = (folder / "log").read_text()
    assert process.poll() is None, log
    found = re.search(r"TLS is enabled.*address=127\.0\.0\.1:(\d+)", log)
    return int(found.group(1)) if found and "Server is ready" in log else 0
