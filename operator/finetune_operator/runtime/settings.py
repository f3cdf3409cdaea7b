"""What an installation chooses: command line first, then environment (``FINETUNE_OPERATOR_…``), then these defaults."""

import json
import os
import socket
from ipaddress import ip_network
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from finetune_operator.cluster.bucketplace import BucketPlace, Mode
from finetune_operator.cluster.prometheus import PrometheusServer
from finetune_operator.manifests.egressprobe import EgressProbe
from finetune_trainer.contract import OUTSIDE_NAME, endpoint
from finetune_trainer.contract.governance.facts import Site

NAMESPACE_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


_PEER = frozenset({"podSelector", "namespaceSelector", "ipBlock"})


def peers_of(text: str) -> tuple[dict[str, Any], ...]:
    """The peers of a NetworkPolicy in a JSON list. Raises ``ValueError`` that says what is wrong with it."""
    found = json.loads(text or "[]")
    if not isinstance(found, list) or not all(isinstance(peer, dict) and peer and peer.keys() <= _PEER for peer in found):
        raise ValueError('write a JSON list of peers with podSelector, namespaceSelector or ipBlock, such as [{"podSelector": {}}]')
    return tuple(found)


class Settings(BaseSettings):
    """Options of ``finetune-operator``; each has a flag of the same name in kebab case."""

    model_config = SettingsConfigDict(
        env_prefix="FINETUNE_OPERATOR_",
        cli_prog_name="finetune-operator",
        cli_kebab_case=True,
        cli_implicit_flags=True,
        cli_avoid_json=True,
        cli_hide_none_type=True,
        extra="forbid",
        frozen=True,
    )

    kubeconfig: Path | None = Field(default=None, description="Kubeconfig file; without one the pod's service account is used.")
    namespace: list[str] = Field(default_factory=list, description="Watch only this namespace; repeatable. Default: all.")
    trainer_image: str = Field(min_length=1, description="Image of the trainer, with tag or digest.")
    image_pull_secret: list[str] = Field(default_factory=list, description="Pull secret of the trainer image; repeatable.")
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] = Field(default="IfNotPresent", description="For the trainer image.")
    progress_key_file: Path | None = Field(
        default=None,
        description="Secret of 32 bytes or more from which the progress tokens are derived. Without it each start makes its own, and runs "
        "that began under another one show no progress.",
    )
    progress_via: Literal["pod-ip", "pod-proxy"] = Field(
        default="pod-ip", description="How to reach a pod's progress: directly, or through the API server (outside the cluster)."
    )
    progress_port: int = Field(default=9400, ge=1, le=65535, description="Port of the trainer's progress server.")
    progress_seconds: float = Field(default=15.0, ge=1.0, description="At most one progress write per run and this many seconds.")
    finished_job_ttl_seconds: int = Field(default=86_400, ge=60, description="How long ended Jobs stay for their logs.")
    retry_base_seconds: float = Field(default=10.0, gt=0, description="First wait before another attempt; doubles.")
    retry_cap_seconds: float = Field(default=360.0, gt=0, description="Longest wait before another attempt.")
    serving: bool = Field(default=False, description="Look after AdapterDeployments too; needs their definition and the rights for it.")
    governance: bool = Field(
        default=False, description="Look after governance: GovernancePolicies, TrainingDatasets, Approvals; needs their definitions."
    )
    governance_residency: list[str] = Field(default_factory=list, description="A place that residency may name, beside any; repeatable.")
    governance_status_seconds: float = Field(
        default=300.0,
        ge=0.5,
        le=86_400.0,
        description="Least time between two writes of counts of jobs into a status of a policy or data.",
    )
    governance_regime: list[str] = Field(default_factory=list, description="A regime beside pii, phi, pci, export and minors; repeatable.")
    signing_key: Path | None = Field(
        default=None,
        description="Private key in PEM, ECDSA on P-256, that signs the records of governed runs. Without one they are published unsigned.",
    )
    verification_key: list[Path] = Field(
        default_factory=list, description="Public keys in PEM of earlier signing keys, for the records that they have signed; repeatable."
    )
    records_namespace: str = Field(
        default="finetune-records", description="Namespace of the records, with the right to create, get, list and watch."
    )
    checkpoint_namespace: str = Field(
        default="", description="Another namespace, for signed checkpoints of the chains of records; none are made without one."
    )
    checkpoint_every: int = Field(default=10, ge=1, le=10_000, description="Records of a chain between two checkpoints.")
    anchor_bucket: str = Field(
        default="",
        description="S3 bucket with object lock for signed checkpoints of the chains of records; none are put there without one.",
    )
    anchor_bucket_endpoint: str = Field(default="", description="Its http(s)://host:port.")
    anchor_bucket_prefix: str = Field(
        default="", description="What every key begins with, ending with a slash; another one for each cluster that shares the bucket."
    )
    anchor_bucket_region: str = Field(default="us-east-1", description="Its region, as requests are signed for it.")
    anchor_bucket_addressing: Literal["path", "virtual"] = Field(
        default="path", description="Whether the bucket's name is in the path or in the host's name."
    )
    anchor_bucket_ca: Path | None = Field(
        default=None, description="Authorities in PEM that the endpoint's certificate is checked with. Default: the system's."
    )
    anchor_bucket_credentials: Path | None = Field(
        default=None,
        description="Folder of a mounted Secret with the files access-key-id, secret-access-key and, for temporary ones, session-token. "
        "Default: the variables AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN.",
    )
    anchor_bucket_mode: Mode = Field(
        default=Mode.COMPLIANCE, description="Retention of a checkpoint; GOVERNANCE can be ended by whoever has the right to bypass it."
    )
    anchor_bucket_days: int = Field(default=3653, ge=1, le=36_500, description="Days that a checkpoint is kept.")
    governance_grace_seconds: float = Field(
        default=3600.0,
        ge=0.0,
        description="How long an adapter goes on answering once a policy or a label forbids to serve it; withdrawn data give it no time.",
    )
    egress_probe_target: str = Field(
        default="",
        description="HOST:PORT outside that the operator reaches and pods with closed egress must not; without one none of them begins.",
    )
    egress_probe_name: str = Field(
        default=OUTSIDE_NAME,
        pattern=r"^[A-Za-z0-9]([-A-Za-z0-9.]*[A-Za-z0-9])?$",
        max_length=253,
        description="Name outside that they must not be able to resolve.",
    )
    egress_probe_times: int = Field(default=3, ge=1, le=100, description="How often in a row nothing may answer before data are mounted.")
    egress_probe_within_seconds: int = Field(default=60, ge=1, le=3600, description="How long something may still answer before that.")
    egress_probe_every_seconds: int = Field(default=60, ge=1, le=3600, description="Between two further tries while a model trains.")
    inference_image: str = Field(
        default="", description="Image of server, agent and router, with tag or digest; without one their pods are somebody else's to make."
    )
    vllm_image: str = Field(default="", description="Image of vLLM for servers that name none.")
    router_replicas: int = Field(default=2, ge=1, le=32, description="Router pods of each namespace.")
    router_workers: int = Field(default=2, ge=1, le=64, description="Worker processes of a router.")
    router_require_api_keys: bool = Field(default=False, description="Let nobody ask a router without a key, even while no key exists.")
    router_pin_secret: str = Field(
        default="", description="Secret of each namespace with the token for pinned requests; without one nothing can be pinned."
    )
    serving_network_policies: bool = Field(default=True, description="Make network policies for servers and routers.")
    serving_clients_from: str = Field(
        default="[]", description="Who may ask routers: peers of a NetworkPolicy as a JSON list; an empty one: everybody."
    )
    serving_metrics_from: str = Field(
        default="[]", description="Who beside the operator may scrape routers and agents: peers of a NetworkPolicy as a JSON list."
    )
    serving_api_server_port: list[int] = Field(
        default_factory=lambda: [443, 6443], description="Port of the API server, for those policies; repeatable."
    )
    serving_api_server_cidr: list[str] = Field(
        default_factory=list, description="Addresses of the API server, for those policies; repeatable. Default: everywhere."
    )
    rollout_look_seconds: float = Field(default=10.0, ge=0.1, description="Between two looks at a baking canary.")
    rollout_poll_seconds: float = Field(
        default=2.0, ge=0.1, description="Between two looks at routers and pods while something is waited for."
    )
    rollout_rest_seconds: float = Field(default=300.0, ge=1.0, description="Between two looks at a deployment at rest.")
    rollout_audit_seconds: float = Field(
        default=15.0,
        ge=0.5,
        description="Between two looks at rest at the engines of external servers, for what they may have lost, and at HTTPRoutes.",
    )
    rollout_unload_seconds: int = Field(
        default=30, ge=0, description="How long, after the drain, a deployment being deleted waits for pods to unload."
    )
    rollout_pin_token_file: Path | None = Field(
        default=None,
        description="Token by which routers know the operator's own requests; without it none are sent (onInsufficientData: Probe).",
    )
    rollout_prometheus_url: str = Field(
        default="",
        description="The Prometheus that scrapes the routers, without /api/v1/query, for deployments with analysis.provider: Prometheus.",
    )
    rollout_prometheus_token_file: Path | None = Field(
        default=None, description="Bearer token for it, read for every question; needs an https url."
    )
    rollout_prometheus_ca_file: Path | None = Field(
        default=None, description="Authorities in PEM that its certificate is checked with. Default: the system's."
    )
    rollout_prometheus_freshness_seconds: int = Field(
        default=60, ge=1, le=600, description="An older scrape is none; at least twice the scrape interval."
    )
    rollout_workers: int = Field(default=8, ge=1, le=256, description="Rollouts looked at at once.")
    workers: int = Field(default=16, ge=1, le=256, description="Reconciles at once.")
    leader_elect: bool = Field(default=True, description="Hold a Lease before writing; --no-leader-elect for a single process.")
    lease_namespace: str | None = Field(default=None, description="Namespace of the Lease; default: the pod's, or default.")
    lease_name: str = Field(default="finetune-operator", description="Name of the Lease.")
    health_address: str = Field(default="0.0.0.0", description="Address of the two servers.")  # noqa: S104  probes come from the node
    health_port: int = Field(default=8080, ge=0, le=65535, description="Port of /healthz and /readyz; 0 takes a free one.")
    metrics_port: int = Field(default=9090, ge=0, le=65535, description="Port of /metrics; 0 takes a free one.")
    log_format: Literal["json", "text"] = Field(default="json", description="Form of the log lines.")
    log_level: Literal["debug", "info", "warning"] = Field(default="info", description="Least level of the log lines.")

    @field_validator("serving_clients_from", "serving_metrics_from")
    @classmethod
    def _are_peers(cls, text: str) -> str:
        peers_of(text)
        return text

    @field_validator("serving_api_server_port")
    @classmethod
    def _are_ports(cls, ports: list[int]) -> list[int]:
        if not ports or not all(1 <= port <= 65_535 for port in ports):
            raise ValueError("name at least one port between 1 and 65535")
        return ports

    @field_validator("serving_api_server_cidr")
    @classmethod
    def _are_networks(cls, networks: list[str]) -> list[str]:
        for network in networks:
            ip_network(network)
        return networks

    @field_validator("egress_probe_target")
    @classmethod
    def _is_endpoint(cls, target: str) -> str:
        if target:
            endpoint(target)
        return target

    @field_validator("rollout_prometheus_url")
    @classmethod
    def _is_address(cls, url: str) -> str:
        if url:
            PrometheusServer(url)
        return url

    @field_validator("rollout_prometheus_token_file", "rollout_prometheus_ca_file")
    @classmethod
    def _is_sent_over_tls(cls, file: Path | None, info: ValidationInfo) -> Path | None:
        if file is not None and not info.data.get("rollout_prometheus_url", "https:").startswith("https:"):
            raise ValueError("needs --rollout-prometheus-url with https")
        return file

    @field_validator("signing_key")
    @classmethod
    def _signs_what_is_governed(cls, file: Path | None, info: ValidationInfo) -> Path | None:
        if file is not None and not info.data.get("governance", True):
            raise ValueError("needs --governance")
        return file

    @field_validator("checkpoint_namespace")
    @classmethod
    def _is_another_namespace(cls, name: str, info: ValidationInfo) -> str:
        if name and name == info.data.get("records_namespace"):
            raise ValueError("must be another namespace than --records-namespace")
        return name

    @model_validator(mode="after")
    def _is_a_bucket(self) -> Self:
        self.bucket_place()
        if self.anchor_bucket and self.signing_key is None:
            raise ValueError("--anchor-bucket needs --signing-key: checkpoints are signed")
        return self

    @model_validator(mode="after")
    def _is_a_site(self) -> Self:
        self.site()
        return self

    def site(self) -> Site:
        """What this installation adds to the vocabulary of governance. Raises ``pydantic.ValidationError`` for what fits no label."""
        return Site(residencies=tuple(self.governance_residency), regimes=tuple(self.governance_regime))

    def bucket_place(self) -> BucketPlace | None:
        """Where checkpoints are put; None where there is no bucket. Raises ``ValueError`` that says what is wrong with it."""
        if not self.anchor_bucket:
            return None
        try:
            return BucketPlace(
                self.anchor_bucket_endpoint,
                self.anchor_bucket,
                self.anchor_bucket_prefix,
                self.anchor_bucket_region,
                self.anchor_bucket_addressing,
                self.anchor_bucket_ca,
            )
        except ValueError as error:
            raise ValueError(f"--anchor-bucket: {error}") from error

    def egress_probe(self) -> EgressProbe | None:
        """What probes of egress try; None where there is no target."""
        if not self.egress_probe_target:
            return None
        return EgressProbe(
            self.egress_probe_target,
            self.egress_probe_name,
            self.egress_probe_times,
            self.egress_probe_within_seconds,
            self.egress_probe_every_seconds,
        )

    @property
    def prometheus_server(self) -> PrometheusServer | None:
        """The one that scrapes the routers; None where there is none."""
        if not self.rollout_prometheus_url:
            return None
        return PrometheusServer(self.rollout_prometheus_url, self.rollout_prometheus_token_file, self.rollout_prometheus_ca_file)

    @property
    def identity(self) -> str:
        """Who this process is, for the Lease and for Events; unique per process."""
        return f"{socket.gethostname()}_{os.getpid()}_{os.urandom(3).hex()}"

    def own_namespace(self) -> str:
        """Where the Lease lies."""
        if self.lease_namespace:
            return self.lease_namespace
        return NAMESPACE_FILE.read_text().strip() if NAMESPACE_FILE.exists() else "default"
