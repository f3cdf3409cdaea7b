"""What the installation decides about serving, and the numbers that the parts of a pod and their peers agree on."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

JsonObject = dict[str, Any]

ENGINE_PORT = 8000
"""The OpenAI API of a managed engine. vLLM takes adapters at this port too."""
ENGINE_ADMIN_PORT = 8001
"""Where the server of ours takes adapters, on the loopback interface alone."""
AGENT_PORT = 8090
"""The agent's status, probes and metrics."""
ROUTER_PORT = 8000
"""The OpenAI API for clients."""
ROUTER_ADMIN_PORT = 9100
"""The router's metrics, acknowledgement and probes."""

PRE_STOP_SECONDS = 5
"""Until every node and router has taken a pod that ends out of its lists, new connections still arrive."""
DRAIN_SECONDS = 300
"""For open answers, at the router and at the engine alike: neither cuts what the other still waits for."""
GRACE_SECONDS = PRE_STOP_SECONDS + DRAIN_SECONDS + 30
"""Time between the order to end and KILL. What is left after both waits is for cutting the last streams and letting go of the model."""


@dataclass(frozen=True)
class ServingSettings:
    """``clients_from`` and ``metrics_from`` are peers of a NetworkPolicy: who may ask the router (empty: everybody), who may scrape.

    ``trainer_image`` makes merged models, whose ended Jobs stay for ``finished_job_ttl_seconds``.
    ``require_api_keys``: callers need a key even while there is no Secret with keys. ``pin_secret`` names a Secret of each namespace whose
    entry ``token`` lets the operator ask a version past the split; router pods wait for it, and without one nothing can be pinned.
    ``reads_records``: checks say what the record beside an adapter says, by the public keys (PEM) in ``record_keys``.
    ``api_server_cidrs`` are the API server's addresses where they are known: only with them can the egress of the pods be closed.
    """

    inference_image: str
    trainer_image: str = ""
    image_pull_policy: str = "IfNotPresent"
    image_pull_secrets: tuple[str, ...] = ()
    default_vllm_image: str = ""
    finished_job_ttl_seconds: int = 86_400
    router_replicas: int = 2
    router_workers: int = 2
    require_api_keys: bool = False
    pin_secret: str = ""
    network_policies: bool = True
    operator_namespace: str = "finetune-system"
    operator_labels: Mapping[str, str] = field(default_factory=lambda: {"app.kubernetes.io/name": "finetune-operator"})
    reads_records: bool = False
    record_keys: tuple[str, ...] = ()
    clients_from: tuple[JsonObject, ...] = ()
    metrics_from: tuple[JsonObject, ...] = ()
    api_server_ports: tuple[int, ...] = (443, 6443)
    api_server_cidrs: tuple[str, ...] = ()
