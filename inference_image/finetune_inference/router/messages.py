"""What supervisor and workers tell each other: one JSON document per line, over a socket pair that only they hold."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from finetune_inference.contract import RouteTable


class _Message(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    def line(self) -> bytes:
        return self.model_dump_json(by_alias=True).encode() + b"\n"


class PodState(BaseModel):
    """A pod and the versions that its own model list has under the right digest."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    deployment: str
    pod: str
    url: str
    versions: tuple[str, ...]


class Table(_Message):
    """Route by this; ``number`` rises with every change. ``opened``: the breakers that are open, by alias and generation."""

    kind: Literal["table"] = "table"
    number: int
    table: RouteTable
    opened: frozenset[tuple[str, int]] = frozenset()


class PodStates(_Message):
    kind: Literal["pods"] = "pods"
    pods: tuple[PodState, ...]


class Credentials(_Message):
    """Keys and pin token as hex SHA-256; the engine's key as it is sent. ``required``: a caller needs one of ``keys``."""

    kind: Literal["credentials"] = "credentials"
    required: bool = False
    keys: tuple[str, ...] = ()
    pin_token: str | None = None
    engine_key: str | None = None


class Drain(_Message):
    kind: Literal["drain"] = "drain"


class InFlight(BaseModel):
    deployment: str
    version: str
    requests: int


class CanaryCount(BaseModel):
    """Live requests of a canary since the last report."""

    alias: str
    generation: int
    requests: int
    failures: int


class Report(_Message):
    """A worker's state, several times a second; one that stays silent is taken for dead."""

    kind: Literal["report"] = "report"
    applied: int
    serving: bool
    in_flight: tuple[InFlight, ...] = ()
    canaries: tuple[CanaryCount, ...] = ()


class Suspect(_Message):
    """A pod just failed a request: look at once."""

    kind: Literal["suspect"] = "suspect"
    pod: str


TO_WORKER: TypeAdapter[Table | PodStates | Credentials | Drain] = TypeAdapter(
    Annotated[Table | PodStates | Credentials | Drain, Field(discriminator="kind")]
)
TO_SUPERVISOR: TypeAdapter[Report | Suspect] = TypeAdapter(Annotated[Report | Suspect, Field(discriminator="kind")])
LINE_LIMIT = 1 << 26
"""Bytes of the longest line: a full table of 512 routes with schemas of 64 KiB fits."""
