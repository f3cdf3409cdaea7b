"""Objects as the API server and the pods give them."""

from typing import Any

from finetune_inference.contract import Acknowledgement, AgentStatus, AppliedRoute, EngineStatus, VersionState, VersionStatus
from finetune_operator.api.base import LABEL_DEPLOYMENT, LABEL_SERVING_ROLE
from finetune_operator.cluster.cache import Key

DIGEST = "sha256:" + "a" * 64
VERSION = "bot--" + "a" * 12
KEY = Key("ns", "bot")
Object = dict[str, Any]


def deployment(
    name: str = "bot", version: int = 10, *, status: Object | None = None, spec: Object | None = None, **metadata: Any
) -> Object:
    made = {"namespace": "ns", "name": name, "uid": f"uid-{name}", "generation": 1, "resourceVersion": str(version), **metadata}
    base = {
        "modelName": name,
        "adapter": {"uri": "pvc://adapters/a", "digest": DIGEST},
        "baseModel": {"uri": "pvc://models/base"},
        "server": {"managed": {"replicas": 1}},
        "preflight": {"requireEvaluation": False},
        **(spec or {}),
    }
    return {
        "apiVersion": "finetune.dev/v1alpha1",
        "kind": "AdapterDeployment",
        "metadata": {"creationTimestamp": "2026-11-22T10:00:00Z", **made},
        "spec": base,
        "status": status or {},
    }


def pod(name: str, role: str = "server", of: str = "bot", version: int = 1, *, ready: bool = True, **status: Any) -> Object:
    labels = {LABEL_SERVING_ROLE: role, **({LABEL_DEPLOYMENT: of} if role == "server" else {})}
    metadata = {"namespace": "ns", "name": name, "uid": f"uid-{name}", "resourceVersion": str(version), "labels": labels}
    condition = {"type": "Ready", "status": "True" if ready else "False"}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata,
        "spec": {},
        "status": {"phase": "Running", "podIP": f"10.0.0.{len(name)}", "conditions": [condition], **status},
    }


def finetunejob(name: str, digest: str, gate: str = "GatePassed", **status: Any) -> Object:
    run = {"number": 1, "reason": "RunSucceeded", "gate": gate, "adapterDigest": digest}
    artifact = {"uri": f"pvc://adapters/{name}", "digest": digest, "runNumber": 1}
    metadata = {"namespace": "ns", "name": name, "uid": f"uid-{name}", "resourceVersion": "1"}
    return {"metadata": metadata, "spec": {}, "status": {"artifact": artifact, "currentRun": run, **status}}


def agent(state: VersionState = VersionState.LOADED, **version: Any) -> AgentStatus:
    held = VersionStatus(name=VERSION, digest=DIGEST, state=state, **version)
    return AgentStatus(generation=1, engine=EngineStatus(reachable=True), ready=True, versions=[held])


def acknowledgement(generation: int = 1, process: str = "p1", deployment: str = "bot") -> Acknowledgement:
    return Acknowledgement(
        router="r", process=process, routes=[AppliedRoute(deployment=deployment, alias=deployment, generation=generation, weight=0)]
    )
