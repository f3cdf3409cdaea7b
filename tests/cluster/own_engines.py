"""Engines that a user runs himself: pods with labels of his own, and fake vLLMs at their addresses that see the adapters' claim."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetune_inference.contract import version_name
from finetune_testbed.bed import Testbed
from tests.cluster import serving_site
from tests.cluster.finetunejobs import Object
from tests.cluster.serving_site import FAST, Site
from tests.engines.artifacts import BASE_NAME, Published
from tests.engines.forked import Process, request, until

WRITER = "finetune-operator"
ENGINE_PORT = 8100
FIRST_ADDRESS = 50


class OwnEngine:
    """A pod of the user's with an engine in it; ``arguments`` are used at every start."""

    def __init__(self, pod: str, ip: str, folder: Path, arguments: tuple[str, ...]) -> None:
        self.pod = pod
        self.ip = ip
        self.folder = folder
        self.arguments = arguments
        self._starts = 0
        self.start()

    @property
    def url(self) -> str:
        return f"http://{self.ip}:{ENGINE_PORT}"

    def told(self) -> Any:
        return json.loads(request("GET", f"{self.url}/faults")[1])

    @property
    def log(self) -> list[str]:
        """What was loaded and unloaded, in order."""
        lines: list[str] = self.told()["log"]
        return lines

    def fault(self, **changes: Any) -> None:
        status, body = request("POST", f"{self.url}/faults", changes)
        assert status == 200, body

    def load(self, name: str, path: str) -> None:
        """What the user loads himself."""
        assert request("POST", f"{self.url}/v1/load_lora_adapter", {"lora_name": name, "lora_path": path})[0] == 200

    def stop(self) -> None:
        """The process that runs now, which need not be the first."""
        self._process.kill()

    def start(self) -> None:
        self._starts += 1
        options = ["--port", str(ENGINE_PORT), "--address", self.ip, "--served-model-name", BASE_NAME, *self.arguments]
        self._process = Process("engine", options, self.folder / f"engine-{self._starts}.log", self.ip)
        until(lambda: request("GET", f"{self.url}/health")[0], lambda status: status in (200, 503), "a started engine")


@dataclass
class OwnSite:
    """A namespace with engines of the user's own, by the label ``app``."""

    site: Site
    engines: list[OwnEngine]

    def add_engine(self, app: str, *arguments: str) -> OwnEngine:
        number = len(self.engines)
        pod, ip, folder = f"{app}-{number}", self.site.address(FIRST_ADDRESS + number), self.site.folder / f"engine-{number}"
        folder.mkdir()
        engine = OwnEngine(pod, ip, folder, arguments)
        self.site.stack.callback(engine.stop)
        self.site.add_pod(pod, ip, {"app": app})
        self.engines.append(engine)
        return engine

    def server(self, app: str, capacity: Object | None = None, **changes: Any) -> Object:
        """``spec.server`` for the engines with this label."""
        external = {"matchLabels": {"app": app}, "port": ENGINE_PORT, "adapterMountPath": str(self.site.volume), **changes}
        return {"external": external, **({"capacity": capacity} if capacity else {})}

    def apply(self, adapter: Published, name: str, app: str = "", *, server: Object | None = None, **changes: Any) -> str:
        """Deploy; the name of the version."""
        self.site.apply(adapter, name, server=server or self.server(app or name), **changes)
        return version_name(name, adapter.digest)


@contextmanager
def own_site(bed: Testbed, folder: Path) -> Iterator[OwnSite]:
    with serving_site.site(bed, folder, servers=0) as site:
        yield OwnSite(site, [])


def arguments(own: OwnSite) -> tuple[str, ...]:
    """Of an operator that looks after this site alone, and often."""
    return ("--namespace", own.site.place.namespace, *FAST, "--rollout-audit-seconds", "1")
