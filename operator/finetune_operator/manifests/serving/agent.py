"""The agent's container: a native sidecar, up before the engine and until after its last answer.

https://kubernetes.io/docs/concepts/workloads/pods/sidecar-containers/
"""

from finetune_operator.api.adapterdeployment.spec import Engine, ManagedServer
from finetune_operator.manifests.names import Owner
from finetune_operator.manifests.security import container_security
from finetune_operator.manifests.serving.settings import AGENT_PORT, ENGINE_ADMIN_PORT, ENGINE_PORT, JsonObject, ServingSettings
from finetune_operator.manifests.serving.volumes import STATE, STORE, TEMPORARY, MergedModel, ServerClaims, agent_mounts, claim_folder

_HASHING_SECONDS = 3600
"""For hashing a model of many gigabytes on a slow volume."""


def build_agent(owner: Owner, managed: ManagedServer, claims: ServerClaims | MergedModel, settings: ServingSettings) -> JsonObject:
    """The container. It alone of the pod holds a token, and it alone says whether the pod is ready.

    The engine waits for its startup probe. /readyz there would keep the engine from ever starting; a merged model is verified before.
    """
    if isinstance(claims, MergedModel):
        startup = _probe("/verifiedz", period=1, timeout=3, failures=_HASHING_SECONDS)
    else:
        startup = _probe("/healthz", period=1, timeout=3, failures=120)
    return {
        "name": "agent",
        "image": settings.inference_image,
        "imagePullPolicy": settings.image_pull_policy,
        "restartPolicy": "Always",
        "command": ["finetune-inference", "agent"],
        "args": _arguments(owner, managed, claims),
        "env": [{"name": "HOME", "value": TEMPORARY}, {"name": "TMPDIR", "value": TEMPORARY}],
        "ports": [{"name": "agent", "containerPort": AGENT_PORT, "protocol": "TCP"}],
        "resources": {"requests": {"cpu": "50m", "memory": "128Mi"}, "limits": {"memory": "512Mi"}},
        "volumeMounts": agent_mounts(claims),
        "startupProbe": startup,
        "livenessProbe": _probe("/healthz", period=10, timeout=5, failures=6),
        # Each answer is a new look at the engine, which may take two seconds.
        "readinessProbe": _probe("/readyz", period=3, timeout=3, failures=2),
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": container_security(),
    }


def _arguments(owner: Owner, managed: ManagedServer, claims: ServerClaims | MergedModel) -> list[str]:
    arguments = ["--adapter-deployment", owner.name, "--namespace", owner.namespace, "--store", STORE, "--state", STATE]
    arguments += ["--engine-url", f"http://127.0.0.1:{ENGINE_PORT}"]
    if managed.engine is Engine.TRANSFORMERS:
        arguments += ["--engine-admin-url", f"http://127.0.0.1:{ENGINE_ADMIN_PORT}"]
    if isinstance(claims, MergedModel):
        return [*arguments, "--merged-version", claims.version, "--merged-model", claims.base_path, "--port", str(AGENT_PORT)]
    arguments += ["--base-model", claims.base_path]
    for claim in claims.adapters:
        arguments += ["--claim", f"{claim}={claim_folder(claim)}"]
    return [*arguments, "--port", str(AGENT_PORT)]


def _probe(path: str, *, period: int, timeout: int, failures: int) -> JsonObject:
    return {"httpGet": {"path": path, "port": "agent"}, "periodSeconds": period, "timeoutSeconds": timeout, "failureThreshold": failures}
