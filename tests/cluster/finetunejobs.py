"""FineTuneJobs on a testbed, as a user would make them: a namespace with its claims, a manifest, and what to read off afterwards."""

import copy
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from finetune_operator.api.base import API_VERSION, GROUP, LABEL_JOB, VERSION
from finetune_testbed.apiserver import MERGE, ApiServer, RequestError
from finetune_testbed.bed import Testbed, Tier
from tests.cluster.crd import MINIMAL, install
from tests.cluster.operator_process import PATIENCE, until

REQUEST_SECONDS = 120.0
"""How long a request may take: deleting hundreds of objects at once is slow on a busy machine."""
CLAIMS = ("models", "data", "adapters")
Object = dict[str, Any]


class Place:
    """One namespace of a testbed, and a connection of its own."""

    def __init__(self, bed: Testbed, server: ApiServer, namespace: str) -> None:
        self.bed = bed
        self.server = server
        self.namespace = namespace

    # Paths.

    def path(self, plural: str, name: str = "", group: str = "") -> str:
        root = f"/apis/{group}" if group else "/api/v1"
        return f"{root}/namespaces/{self.namespace}/{plural}" + (f"/{name}" if name else "")

    def job_path(self, name: str = "") -> str:
        return self.path("finetunejobs", name, f"{GROUP}/{VERSION}")

    def batch_path(self, name: str = "") -> str:
        return self.path("jobs", name, "batch/v1")

    # FineTuneJobs.

    def apply(self, name: str, **changes: Any) -> Object:
        """Create or change a FineTuneJob; ``changes`` are dotted paths below spec, with ``__`` for the dot."""
        document = manifest(name, self.namespace, changes)
        answer: Object = self.server.apply(self.job_path(name), document)
        return answer

    def get(self, name: str) -> Object:
        document: Object = self.server.request("GET", self.job_path(name))
        return document

    def status(self, name: str) -> Object:
        status: Object = self.get(name).get("status") or {}
        return status

    def condition(self, name: str, kind: str = "Ready") -> Object:
        found: list[Object] = [c for c in self.status(name).get("conditions") or [] if c["type"] == kind]
        return found[0] if found else {}

    def patch(self, name: str, spec: Object) -> Object:
        answer: Object = self.server.request("PATCH", self.job_path(name), {"spec": spec}, MERGE)
        return answer

    def delete(self, name: str) -> None:
        self.server.request("DELETE", self.job_path(name))

    def wait_reason(self, name: str, reason: str, kind: str = "Ready", seconds: float = PATIENCE) -> Object:
        """Wait until a condition has this reason, and return it."""

        def look() -> Object:
            seen = self.condition(name, kind)
            return seen if seen.get("reason") == reason else {}

        try:
            return until(look, seconds)
        except AssertionError:
            pods = [pod.get("status") for pod in self.pods(name)]
            found = self.condition(name, kind)
            raise AssertionError(f"{name}: {kind} is {found}, not {reason}, after {seconds} s; its pods: {pods}") from None

    def wait_ended(self, name: str, seconds: float = PATIENCE) -> str:
        """Wait until the current run has ended and its status speaks of the current generation; its outcome."""

        def look() -> str:
            found = self.get(name)
            status = found.get("status") or {}
            current = status.get("observedGeneration") == found["metadata"]["generation"]
            run = status.get("currentRun") or {}
            return str(run.get("outcome") or "") if current else ""

        try:
            return until(look, seconds)
        except AssertionError:
            raise AssertionError(f"{name} has not ended after {seconds} s: {self.condition(name)}") from None

    # Children.

    def jobs(self, name: str = "") -> list[Object]:
        return self._labelled(self.batch_path(), name)

    def pods(self, name: str = "") -> list[Object]:
        return self._labelled(self.path("pods"), name)

    def config_maps(self, name: str = "") -> list[Object]:
        return self._labelled(self.path("configmaps"), name)

    def events(self, name: str) -> list[Object]:
        items = self.server.request("GET", self.path("events", group="events.k8s.io/v1"))["items"]
        return [item for item in items if item.get("regarding", {}).get("name") == name and item["regarding"]["kind"] == "FineTuneJob"]

    def wait_event(self, name: str, reason: str) -> list[Object]:
        """All events, once one with this reason is among them: the operator writes events last, after the status."""

        def look() -> list[Object]:
            found = self.events(name)
            return found if any(event["reason"] == reason for event in found) else []

        return until(look)

    def _labelled(self, path: str, name: str) -> list[Object]:
        selector = f"{LABEL_JOB}%3D{name}" if name else LABEL_JOB
        items: list[Object] = self.server.request("GET", f"{path}?labelSelector={selector}")["items"]
        return items

    def add_claim(self, claim: str) -> None:
        """A claim that is bound to a volume of its own: the fake nodes take any."""
        volume = f"{self.namespace}-{claim}"
        common = {"accessModes": ["ReadWriteMany"], "storageClassName": ""}
        spec = {**common, "capacity": {"storage": "1Gi"}, "hostPath": {"path": f"/tmp/{volume}"}}
        self.server.request("POST", "/api/v1/persistentvolumes", {"metadata": {"name": volume}, "spec": spec})
        wanted = {**common, "volumeName": volume, "resources": {"requests": {"storage": "1Gi"}}}
        self.server.request("POST", self.path("persistentvolumeclaims"), {"metadata": {"name": claim}, "spec": wanted})

    def is_bound(self, claim: str) -> bool:
        found: Object = self.server.request("GET", self.path("persistentvolumeclaims", claim))
        return bool((found.get("status") or {}).get("phase") == "Bound")


def manifest(name: str, namespace: str, changes: Object | None = None) -> Object:
    """The smallest FineTuneJob, with some fields of its spec set: ``training__seed=7`` is ``spec.training.seed``."""
    spec = copy.deepcopy(MINIMAL)
    for path, value in (changes or {}).items():
        *parents, leaf = path.split("__")
        place = spec
        for parent in parents:
            place = place.setdefault(parent, {})
        place[leaf] = value
    return {"apiVersion": API_VERSION, "kind": "FineTuneJob", "metadata": {"name": name, "namespace": namespace}, "spec": spec}


@contextmanager
def place(bed: Testbed, *, claims: tuple[str, ...] = CLAIMS, clean: bool = True) -> Iterator[Place]:
    """A fresh namespace with the kind installed and claims bound; its FineTuneJobs are deleted in the end.

    Not with ``clean=False``, for a testbed that goes as a whole: for ten thousand objects the API server needs more than one request gets.
    """
    name = f"test-{uuid.uuid4().hex[:8]}"
    with ApiServer(bed, REQUEST_SECONDS) as server:
        install(server)
        server.request("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
        here = Place(bed, server, name)
        for claim in claims:
            here.add_claim(claim)
        if bed.tier is not Tier.T1:  # there nobody binds; elsewhere a run that began before would rightly say that it waits for its volume
            until(lambda: all(here.is_bound(claim) for claim in claims))
        try:
            yield here
        finally:
            if clean:
                _clean(here, claims)


def _clean(here: Place, claims: tuple[str, ...]) -> None:
    for path in (here.job_path(), here.batch_path(), here.path("pods")):
        here.server.request("DELETE", path, {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Background"})
    for claim in claims:
        try:
            here.server.request("DELETE", f"/api/v1/persistentvolumes/{here.namespace}-{claim}")
        except RequestError as error:
            if error.status != 404:
                raise
    here.server.request("DELETE", f"/api/v1/namespaces/{here.namespace}")
