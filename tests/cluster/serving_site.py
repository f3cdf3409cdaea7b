"""Serving in small on a real API server: pods that exist there as objects, and whose routers, agents and engines are real processes here.

Each pod has a loopback address of its own, so that the operator finds the ports it expects. A thread stands in for the routers' and agents'
own watches: it turns what lies in status into their files.
"""

import asyncio
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from finetune_inference.contract import DesiredSet, Endpoint, Route, RouteTable
from finetune_operator.api.base import API_VERSION, GROUP, LABEL_DEPLOYMENT, LABEL_SERVING_ROLE, VERSION
from finetune_operator.api.crd import ADAPTERDEPLOYMENT
from finetune_testbed.apiserver import MERGE, ApiServer, RequestError
from finetune_testbed.bed import Testbed
from tests.cluster import finetunejobs
from tests.cluster.crd import install
from tests.cluster.finetunejobs import Object, Place
from tests.cluster.operator_process import until
from tests.engines import processes
from tests.engines.artifacts import BASE_CONFIG, BASE_DIGEST, BASE_NAME, AdapterFiles, Published, publish
from tests.engines.forked import Process
from tests.engines.load import Load
from tests.engines.processes import ALIAS, RouterProcess

ROUTER_PORT, ROUTER_ADMIN_PORT, AGENT_PORT = 8000, 9100, 8090
PIN_TOKEN = "known to routers and operator"
FAST = ("--serving", "--rollout-look-seconds", "0.5", "--rollout-poll-seconds", "0.2", "--rollout-unload-seconds", "3")
"""Waits that a test need not sit through; what is decided is the same."""
NAME = "tickets"
STEP = {"bakeSeconds": 1, "analysis": ["Errors"]}
"""Latencies on a shared machine are no matter of these tests."""


def manifest(namespace: str, name: str, adapter: Published, changes: Object) -> Object:
    spec: Object = {
        "modelName": name,
        "adapter": {"uri": adapter.uri, "digest": adapter.digest},
        "baseModel": {"uri": "pvc://models/base"},
        "server": {"managed": {"engine": "vLLM", "replicas": 1}},
        "preflight": {"requireEvaluation": False},
        "strategy": {"canary": {"steps": [{"weight": 50, **STEP}]}},
        "analysis": {"minRequests": 20, "maxWaitSeconds": 60},
        "rollback": {"keepStableLoadedSeconds": 600, "drainTimeoutSeconds": 2},
        **changes,
    }
    return {"apiVersion": API_VERSION, "kind": "AdapterDeployment", "metadata": {"name": name, "namespace": namespace}, "spec": spec}


@dataclass
class Server:
    """A server pod: an engine and its agent."""

    name: str
    ip: str
    folder: Path
    engine: Process
    agent: Process

    def fault(self, **changes: Any) -> None:
        status, body = self.engine.post("/faults", changes)
        assert status == 200, body


@dataclass
class Site:
    """``seen`` is when a generation of the route first lay in status, by `time.monotonic`; ``weights`` are those of the canaries."""

    place: Place
    folder: Path
    stack: ExitStack
    volume: Path
    servers: list[Server] = field(default_factory=list)
    routers: list[RouterProcess] = field(default_factory=list)
    seen: dict[tuple[str, int], float] = field(default_factory=dict)
    weights: list[int] = field(default_factory=list)
    deployments: set[str] = field(default_factory=set)
    _net: str = field(default_factory=lambda: "127.{}.{}".format(*(10 + byte % 240 for byte in os.urandom(2))))

    # What a person does.

    def publish(self, seed: int, **changes: Any) -> Published:
        return publish(AdapterFiles(seed=seed, **changes), self.volume)

    def path(self, name: str = "") -> str:
        return self.place.path("adapterdeployments", name, f"{GROUP}/{VERSION}")

    def apply(self, adapter: Published, name: str = NAME, **changes: Any) -> Object:
        self.deployments.add(name)
        answer: Object = self.place.server.apply(self.path(name), manifest(self.place.namespace, name, adapter, changes))
        return answer

    def get(self, name: str = NAME) -> Object:
        answer: Object = self.place.server.request("GET", self.path(name))
        return answer

    def status(self, name: str = NAME) -> Object:
        return self.get(name).get("status") or {}

    def condition(self, kind: str, name: str = NAME) -> Object:
        return next((each for each in self.status(name).get("conditions") or [] if each["type"] == kind), {})

    def delete(self, name: str = NAME) -> None:
        self.place.server.request("DELETE", self.path(name))

    def gone(self, name: str = NAME) -> bool:
        try:
            self.get(name)
        except RequestError as error:
            if error.status == 404:
                return True
            raise
        return False

    def wait(self, wanted: Callable[[Object], Any], what: str, name: str = NAME, seconds: float = 60.0) -> Object:
        """The first status that is as wanted."""

        def look() -> Object:
            status = self.status(name)
            return status if wanted(status) else {}

        try:
            return until(look, seconds)
        except AssertionError:
            raise AssertionError(f"never {what}: {json.dumps(self.status(name), indent=1)[:6000]}") from None

    def wait_phase(self, phase: str, name: str = NAME, seconds: float = 60.0) -> Object:
        return self.wait(lambda status: status.get("phase") == phase, phase, name, seconds)

    # What a kubelet does.

    def add_server(self, name: str = NAME) -> Server:
        number = len(self.servers)
        pod, ip, folder = f"server-{number}", f"{self._net}.{100 + number}", self.folder / f"server-{number}"
        (folder / "base").mkdir(parents=True)
        (folder / "base" / "config.json").write_text(json.dumps(BASE_CONFIG))
        (folder / "desired.json").touch()
        engine = Process("engine", ["--port", "0", "--served-model-name", BASE_NAME], folder / "engine.log")
        self.stack.callback(engine.kill)
        places = ["--desired", "desired.json", "--store", "store", "--state", "state", "--base-model", "base"]
        arguments = [str(folder / part) if index % 2 else part for index, part in enumerate(places)]
        arguments += ["--address", ip, "--port", str(AGENT_PORT), "--audit-seconds", "1", "--claim", f"adapters={self.volume}"]
        agent = Process("agent", [*arguments, "--engine-url", f"http://127.0.0.1:{engine.port}"], folder / "agent.log")
        self.stack.callback(agent.kill)
        assert agent.port == AGENT_PORT
        self.add_pod(pod, ip, {LABEL_SERVING_ROLE: "server", LABEL_DEPLOYMENT: name})
        server = Server(pod, ip, folder, engine, agent)
        self.servers.append(server)
        return server

    def add_router(self) -> RouterProcess:
        number = len(self.routers)
        ip, folder = f"{self._net}.{number + 1}", self.folder / f"router-{number}"
        folder.mkdir()
        processes.write_table(folder, RouteTable(namespace=self.place.namespace))
        (self.folder / "pin-token").write_text(PIN_TOKEN)
        ports = {"port": ROUTER_PORT, "admin_port": ROUTER_ADMIN_PORT}
        options = ("--pin-token-file", str(self.folder / "pin-token"))
        router = self.stack.enter_context(processes.router(folder, *options, workers=1, host=ip, **ports))
        self.routers.append(router)
        self.add_pod(f"router-{number}", ip, {LABEL_SERVING_ROLE: "router"})
        return router

    def add_pod(self, pod: str, ip: str, labels: dict[str, str]) -> None:
        container = {"name": "main", "image": "registry.invalid/none:0"}
        document = {"metadata": {"name": pod, "labels": labels}, "spec": {"containers": [container]}}
        self.place.server.request("POST", self.place.path("pods"), document)
        ready = {"type": "Ready", "status": "True"}
        status = {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}], "conditions": [ready]}
        self.place.server.request("PATCH", self.place.path("pods", pod) + "/status", {"status": status}, MERGE)

    # What users do.

    @contextmanager
    def traffic(self, rate: float = 30.0, name: str = ALIAS) -> Iterator[Load]:
        """Streams at a fixed rate through the first router, from a thread of its own."""
        load, stop = Load(self.routers[0].url, rate, document={"model": name}), threading.Event()

        async def run() -> None:
            async with load.running():
                await asyncio.to_thread(stop.wait)

        thread = threading.Thread(target=lambda: asyncio.run(run()), daemon=True)
        thread.start()
        try:
            yield load
        finally:
            stop.set()
            thread.join()

    # What routers and agents see.

    def spread(self, server: ApiServer) -> None:
        """One look at status: tables and desired sets as they follow from it."""
        items = server.request("GET", self.path())["items"]
        routes, desired = [], {}
        for item in items:
            name, status = item["metadata"]["name"], item.get("status") or {}
            if status.get("route"):
                routes.append(Route.model_validate(status["route"]))
                if routes[-1].canary is not None and (name, routes[-1].generation) not in self.seen:
                    self.weights.append(routes[-1].weight)
                self.seen.setdefault((name, routes[-1].generation), time.monotonic())
            if status.get("desired"):
                desired[name] = status["desired"]
        endpoints = [
            Endpoint(deployment=route.deployment, pod=one.name, url=f"http://127.0.0.1:{one.engine.port}")
            for route in routes
            for one in self.servers
        ]
        table = RouteTable(namespace=self.place.namespace, routes=routes, endpoints=endpoints)
        for router in self.routers:
            _put(router.folder / "table.json", table.to_json())
        for one in self.servers:
            _put(one.folder / "desired.json", _desired(desired.get(NAME)).to_json() if NAME in desired else "")


def _desired(desired: Any) -> DesiredSet:
    return DesiredSet.model_validate(
        {
            "generation": desired["generation"],
            "base": {"name": BASE_NAME, "digest": BASE_DIGEST},
            "engine": {"kind": "vLLM", "limits": {"maxLoras": 4, "maxCpuLoras": 8, "maxLoraRank": 64}},
            "versions": desired.get("versions", []),
        }
    )


def _put(path: Path, text: str) -> None:
    if not text or (path.exists() and path.read_text() == text):
        return
    fresh = path.with_suffix(".fresh")
    fresh.write_text(text)
    fresh.replace(path)


@contextmanager
def site(bed: Testbed, folder: Path, *, servers: int = 1, routers: int = 1) -> Iterator[Site]:
    """A namespace with the kind, its pods and their processes, all of which end with it."""
    with finetunejobs.place(bed, claims=()) as place, ExitStack() as stack:
        install(place.server, ADAPTERDEPLOYMENT)
        place.server.request("POST", place.path("serviceaccounts"), {"metadata": {"name": "default"}})
        volume = folder / "volume"
        volume.mkdir()
        here = Site(place, folder, stack, volume)
        stop = threading.Event()
        spreader = threading.Thread(target=_spread, args=(here, bed, stop), daemon=True)
        stack.callback(_let_go, here)
        stack.callback(spreader.join)
        stack.callback(stop.set)
        for _ in range(routers):
            here.add_router()
        for _ in range(servers):
            here.add_server()
        spreader.start()
        yield here


def _spread(here: Site, bed: Testbed, stop: threading.Event) -> None:
    with ApiServer(bed) as server:
        while not stop.wait(0.05):
            here.spread(server)


def _let_go(here: Site) -> None:
    """Without an operator nobody takes the finalizers off."""
    for name in here.deployments:
        with suppress(RequestError):
            here.place.server.request("PATCH", here.path(name), {"metadata": {"finalizers": None}}, MERGE)
            here.delete(name)
