"""What an installation chooses. Each option is a flag of ``finetune-inference route`` of the same name in kebab case."""

import os
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Options(BaseModel):
    """All sizes are bytes, all durations seconds; limits are per worker process unless they say otherwise."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    table: Path | None = Field(default=None, description="Route table (JSON), replaced as a whole; read again when it changes.")
    watch_namespace: str | None = Field(
        default=None,
        pattern=r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$",
        max_length=63,
        description="Route the AdapterDeployments of this namespace.",
    )
    kube_api_url: str | None = Field(
        default=None, pattern=r"^https://[^/\s]+/?$", description="The API server, if it is not that of the pod's own cluster."
    )
    kube_ca_file: Path | None = Field(default=None, description="Authority of the API server; the pod's service account has one.")
    kube_token_file: Path | None = Field(default=None, description="Token for the API server; the pod's service account has one.")
    state_dir: Path = Field(description="Writable folder: the last good table, and the workers' counters.")
    address: str = Field(default="0.0.0.0", description="Address of both ports.")  # noqa: S104  a pod's traffic comes from outside
    port: int = Field(default=8000, ge=0, le=65535, description="Port of the OpenAI API; 0 takes a free one.")
    admin_port: int = Field(default=9100, ge=0, le=65535, description="Port of /metrics, /routes and the probes; 0 takes a free one.")
    workers: int = Field(default=min(4, os.cpu_count() or 1), ge=1, le=64, description="Worker processes.")
    api_keys: Path | None = Field(default=None, description="Folder with a caller's key in each file, or a file with a key per line.")
    without_keys: Literal["refuse", "admit"] = Field(
        default="refuse", description="What happens to callers while the folder --api-keys is empty."
    )
    pin_token_file: Path | None = Field(default=None, description="Token that lets the operator pin a version with x-adapter-version.")
    engine_key_file: Path | None = Field(default=None, description="Key that is sent to the engines; none while its folder lacks it.")
    max_body: int = Field(default=10 * 1024 * 1024, ge=1024, description="Largest request body.")
    max_bodies: int = Field(default=256 * 1024 * 1024, ge=1024, description="Largest sum of bodies that wait for their first byte.")
    max_header: int = Field(default=16 * 1024, ge=1024, description="Largest header line.")
    max_requests: int = Field(default=2048, ge=1, description="Open requests.")
    max_connections: int = Field(default=8192, ge=1, description="Open client connections.")
    idle_seconds: float = Field(default=75.0, gt=0, description="How long a connection may take to send a request's headers, or be idle.")
    body_seconds: float = Field(default=60.0, gt=0, description="How long a client may take to send a body.")
    stall_seconds: float = Field(default=60.0, gt=0, description="How long a client may accept nothing of its answer.")
    connect_seconds: float = Field(default=2.0, gt=0, description="How long a connection to a pod may take.")
    silence_seconds: float = Field(default=300.0, gt=0, description="How long a pod may send nothing, first byte included.")
    poll_seconds: float = Field(default=2.0, gt=0, description="How often each pod is asked for its models.")
    drain_seconds: float = Field(default=300.0, ge=0, description="How long open requests may go on after a request to stop.")
    check_queue: int = Field(default=256, ge=1, description="Answers that wait for their schema check.")
    log_format: Literal["json", "text"] = Field(default="json", description="Form of the log lines.")
    log_level: Literal["debug", "info", "warning"] = Field(default="info", description="Least level of the log lines.")

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.table is None) == (self.watch_namespace is None):
            raise ValueError("one source of routes is needed: --table or --watch-namespace")
        return self

    @property
    def counters(self) -> Path:
        """The folder of the workers' counters."""
        return self.state_dir / "counters"

    def share(self, total: int, slot: int) -> int:
        """This worker's part of a number that holds for all workers together."""
        return total // self.workers + (1 if slot < total % self.workers else 0)
