"""Serving in small on a real API server: pods that exist there as objects, and whose routers, agents and engines are real processes here.

Each pod has a loopback address of its own, so that everybody finds the ports he expects. Routers and agents watch the API server, each with
a service account that has the rights it needs and no other: nothing but the status lies between the operator and them.
"""

import json
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from finetune_operator.api.base import API_VERSION, GROUP, LABEL_DEPLOYMENT, LABEL_SERVING_ROLE, VERSION
from finetune_operator.api.crd import ADAPTERDEPLOYMENT
from finetune_testbed.apiserver import MERGE, ApiServer, RequestError
from finetune_testbed.bed import Testbed
from tests.cluster import finetunejobs
from tests.cluster.crd import install
from tests.cluster.finetunejobs import Object, Place
from tests.cluster.operator_process import PATIENCE, until
from tests.cluster.route_watch import RouteWatch
from tests.cluster.serving.accounts import ROUTER_RULES, account, agent_rules, write_token
from tests.cluster.serving.pods import EngineProgram, Server, fake_engine
from tests.engines import processes
from tests.engines.artifacts import BASE_DIGEST, AdapterFiles, Published, publish
from tests.engines.load import Load
from tests.engines.processes import ALIAS, RouterProcess

ROUTER_PORT, ROUTER_ADMIN_PORT = 8000, 9100
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
        "baseModel": {"uri": "pvc://models/base", "digest": BASE_DIGEST},
        "server": {"managed": {"engine": "vLLM", "replicas": 1}},
        "preflight": {"requireEvaluation": False},
        "strategy": {"canary": {"steps": [{"weight": 50, **STEP}]}},
        "analysis": {"minRequests": 20, "maxWaitSeconds": 60},
        "rollback": {"keepStableLoadedSeconds": 600, "drainTimeoutSeconds": 2},
        **changes,
    }
    return {"apiVersion": API_VERSION, "kind": "AdapterDeployment", "metadata": {"name": name, "namespace": namespace}, "spec": spec}


@dataclass
class Site:
    """``watch`` has seen every route that was ever in status; ``workers`` are those of each router.

    ``api_url`` is the API server for routers and agents that are added from now on.
    """

    place: Place
    folder: Path
    stack: ExitStack
    volume: Path
    program: EngineProgram
    watch: RouteWatch
    workers: int = 1
    api_url: str = ""
    servers: list[Server] = field(default_factory=list)
    routers: list[RouterProcess] = field(default_factory=list)
    deployments: set[str] = field(default_factory=set)
    _starts: list[Callable[[], AbstractContextManager[RouterProcess]]] = field(default_factory=list)
    _net: str = field(default_factory=lambda: "127.{}.{}".format(*(10 + byte % 240 for byte in os.urandom(2))))

    # What a person does.

    def publish(self, seed: int, **changes: Any) -> Published:
        return publish(AdapterFiles(seed=seed, **changes), self.volume)

    def path(self, name: str = "") -> str:
        return self.place.path("adapterdeployments", name, f"{GROUP}/{VERSION}")

    def apply(self, adapter: Published, /, name: str = NAME, **changes: Any) -> Object:
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

    def order(self, action: str, name: str = NAME) -> None:
        """A one-shot order, as ``promote:1``."""
        self.place.server.request("PATCH", self.path(name), {"metadata": {"annotations": {"finetune.dev/rollout": action}}}, MERGE)

    def gone(self, name: str = NAME) -> bool:
        try:
            self.get(name)
        except RequestError as error:
            if error.status == 404:
                return True
            raise
        return False

    def wait(self, wanted: Callable[[Object], Any], what: str, name: str = NAME, seconds: float = PATIENCE) -> Object:
        """The first status that is as wanted."""

        def look() -> Object:
            status = self.status(name)
            return status if wanted(status) else {}

        try:
            return until(look, seconds)
        except AssertionError:
            raise AssertionError(f"never {what}: {json.dumps(self.status(name), indent=1)[:6000]}") from None

    def wait_phase(self, phase: str, name: str = NAME, seconds: float = PATIENCE) -> Object:
        return self.wait(lambda status: status.get("phase") == phase, phase, name, seconds)

    # What a kubelet does.

    def add_server(self, name: str = NAME) -> Server:
        number = len(self.servers)
        pod, ip = f"server-{number}", f"{self._net}.{100 + number}"
        source = ("--adapter-deployment", name, "--namespace", self.place.namespace, *self.access(agent_rules(name), pod))
        server = Server(pod, ip, self.folder / pod, self.program, source=source, claim=self.volume)
        self.stack.callback(server.kill)
        self.servers.append(server)
        self.add_pod(pod, ip, {LABEL_SERVING_ROLE: "server", LABEL_DEPLOYMENT: name})
        return server

    def add_router(self) -> RouterProcess:
        number = len(self.routers)
        pod, ip = f"router-{number}", f"{self._net}.{number + 1}"
        (self.folder / "pin-token").write_text(PIN_TOKEN)
        source = ("--watch-namespace", self.place.namespace, *self.access(ROUTER_RULES, pod))
        options = ("--pin-token-file", str(self.folder / "pin-token"))
        places = {"host": ip, "port": ROUTER_PORT, "admin_port": ROUTER_ADMIN_PORT}
        start = partial(processes.router, self.folder / pod, *options, workers=self.workers, source=source, **places)
        self._starts.append(start)
        self.routers.append(self.stack.enter_context(start()))
        self.add_pod(pod, ip, {LABEL_SERVING_ROLE: "router"})
        return self.routers[number]

    def kill_router(self, number: int) -> None:
        """The whole container."""
        self.routers[number].kill()
        self.tell_ready(f"router-{number}", ready=False)

    def restart_router(self, number: int) -> None:
        """At the same address, with the state that the one before has left; returns when it is ready."""
        self.routers[number] = self.stack.enter_context(self._starts[number]())
        self.tell_ready(f"router-{number}", ready=True)

    def address(self, number: int) -> str:
        """A loopback address of this site's own."""
        return f"{self._net}.{number}"

    def access(self, rules: list[dict[str, Any]], name: str) -> tuple[str, ...]:
        """Options of a process with a service account of its own that has these rights."""
        bed, file = self.place.bed, self.folder / f"{name}.token"
        write_token(file, account(self.place.server, self.place.namespace, rules))
        return (
            "--kube-api-url",
            self.api_url or bed.apiserver_url,
            "--kube-ca-file",
            str(bed.pki / "ca.crt"),
            "--kube-token-file",
            str(file),
        )

    def add_pod(self, pod: str, ip: str, labels: dict[str, str], server: ApiServer | None = None) -> None:
        """``server``: the connection of whoever calls from another thread."""
        server = server or self.place.server
        container = {"name": "main", "image": "registry.invalid/none:0"}
        document = {"metadata": {"name": pod, "labels": labels}, "spec": {"containers": [container]}}
        server.request("POST", self.place.path("pods"), document)
        self.tell_ready(pod, ready=True, server=server, phase="Running", podIP=ip, podIPs=[{"ip": ip}])

    def tell_ready(self, pod: str, *, ready: bool, server: ApiServer | None = None, **status: Any) -> None:
        condition = {"type": "Ready", "status": str(ready)}
        document = {"status": {**status, "conditions": [condition]}}
        (server or self.place.server).request("PATCH", self.place.path("pods", pod) + "/status", document, MERGE)

    # What users do.

    def traffic(
        self, rate: float = 30.0, name: str = ALIAS, *, document: Object | None = None, **options: Any
    ) -> AbstractContextManager[Load]:
        """Streams at a fixed rate through all routers in turn, from a thread of its own; ``options`` are those of `Load`."""
        urls = [router.url for router in self.routers]
        return Load(urls, rate, document={"model": name, **(document or {})}, **options).on_a_thread()


@contextmanager
def site(
    bed: Testbed, folder: Path, *, servers: int = 1, routers: int = 1, workers: int = 1, program: EngineProgram | None = None
) -> Iterator[Site]:
    """A namespace with the kind, its pods and their processes, all of which end with it; fake engines unless another is named."""
    with finetunejobs.place(bed, claims=()) as place, ExitStack() as stack:
        install(place.server, ADAPTERDEPLOYMENT)
        place.server.request("POST", place.path("serviceaccounts"), {"metadata": {"name": "default"}})
        volume = folder / "volume"
        volume.mkdir()
        watch = stack.enter_context(RouteWatch(bed, place.namespace))
        here = Site(place, folder, stack, volume, program or fake_engine(folder / "base"), watch, workers)
        stack.callback(_let_go, here)
        for _ in range(routers):
            here.add_router()
        for _ in range(servers):
            here.add_server()
        yield here


def _let_go(here: Site) -> None:
    """Without an operator nobody takes the finalizers off."""
    for name in here.deployments:
        with suppress(RequestError):
            here.place.server.request("PATCH", here.path(name), {"metadata": {"finalizers": None}}, MERGE)
            here.delete(name)
