"""Routes: which version answers for an alias, for which share of its callers, and where the pods are.

The operator writes one `Route` for each AdapterDeployment into its status; a router merges those of its namespace with the endpoints it
sees into a `RouteTable`, and acknowledges what it has applied.
"""

from enum import StrEnum
from typing import Annotated

from pydantic import Field, StringConstraints, model_validator

from finetune_inference.contract.naming import VersionName
from finetune_trainer.contract import Decimal, Document
from finetune_trainer.contract.base import Named

POINTS = 10_000
"""Positions of the ring on which callers stand: a canary of weight ``w`` percent has those below ``w * POINTS / 100``."""

Alias = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$", max_length=63)]
Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$", max_length=253)]


class Fallback(StrEnum):
    """What a caller is known by when the header is absent: the request's ``user`` field, or its API key."""

    USER = "User"
    API_KEY = "ApiKey"


class Stickiness(Document):
    """Callers with equal keys get equal versions; one without any key gets a random position."""

    header: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9-]+$", max_length=64)] | None = None
    fallback: list[Fallback] = Field(default_factory=lambda: [Fallback.USER, Fallback.API_KEY], max_length=2)


class Shadow(Document):
    """Copies of live requests go to the canary, whose answers nobody sees; ``max_concurrent`` caps what that costs."""

    percent: int = Field(ge=1, le=100)
    max_concurrent: int = Field(default=4, ge=1, le=256)


class SchemaCheck(Document):
    """A sample of complete answers is validated against the job's output schema; no text is kept."""

    output_schema: str = Field(max_length=65_536, description="A JSON Schema, as text.")
    sample_percent: int = Field(default=100, ge=1, le=100)


class Breaker(Document):
    """A canary whose share of failed requests passes ``max_error_rate`` after ``min_requests`` gets no more traffic from this router."""

    max_error_rate: Decimal = "0.5"
    min_requests: int = Field(default=20, ge=1, le=1_000_000)


class Route(Document):
    """One alias. ``generation`` rises with every change of traffic and is what a router acknowledges."""

    deployment: Name
    alias: Alias
    generation: int = Field(ge=1)
    salt: str = Field(default="", max_length=64)
    stable: VersionName | None = None
    canary: VersionName | None = None
    weight: int = Field(default=0, ge=0, le=100, description="Percent of callers who get the canary.")
    shadow: Shadow | None = None
    versions: list[VersionName] = Field(default_factory=list, max_length=16, description="All that may be pinned and are counted.")
    stickiness: Stickiness = Field(default_factory=Stickiness)
    schema_check: SchemaCheck | None = None
    breaker: Breaker = Field(default_factory=Breaker)

    @model_validator(mode="after")
    def _consistent(self) -> "Route":
        if self.canary is None and (self.weight or self.shadow):
            raise ValueError("weight and shadow need a canary")
        if self.stable is None and self.canary is not None and self.weight != 100:
            raise ValueError("a canary without a stable version has weight 100")
        if missing := {self.stable, self.canary} - {None} - set(self.versions):
            raise ValueError(f"versions lacks {', '.join(sorted(str(name) for name in missing))}")
        return self


class Endpoint(Document):
    """A pod that may answer for a deployment. Which versions it holds is what the router asks it for, not what anybody claims."""

    deployment: Name
    pod: Name
    url: str = Field(pattern=r"^http://[^/\s]+$", max_length=512, description="Inference address, without a path.")


class RouteTable(Named):
    """All that a router routes by."""

    kind: str = Field(default="RouteTable", pattern="^RouteTable$")
    namespace: Name = "default"
    routes: list[Route] = Field(default_factory=list, max_length=512)
    endpoints: list[Endpoint] = Field(default_factory=list, max_length=4096)

    @model_validator(mode="after")
    def _one_route_per_alias(self) -> "RouteTable":
        aliases = [route.alias for route in self.routes]
        if twice := {alias for alias in aliases if aliases.count(alias) > 1}:
            raise ValueError(f"two routes answer for {', '.join(sorted(twice))}")
        return self


class AppliedRoute(Document):
    """``breaker_open``: the local breaker has taken the canary's traffic away."""

    deployment: Name
    alias: Alias
    generation: int = Field(ge=1)
    weight: int = Field(ge=0, le=100)
    breaker_open: bool = False
    in_flight: dict[str, int] = Field(default_factory=dict, description="Open requests by version.")
    schema_problem: str | None = Field(default=None, max_length=512, description="Why its answers are not checked, though that is wanted.")


class Acknowledgement(Named):
    """What a router answers at ``/routes``: every worker process of it applies these."""

    kind: str = Field(default="Acknowledgement", pattern="^Acknowledgement$")
    router: str = Field(max_length=253)
    process: str = Field(max_length=64, description="New with every start: counters of another process begin at zero.")
    table_problem: str | None = Field(default=None, max_length=1024, description="Why the newest table is not applied.")
    routes: list[AppliedRoute] = Field(default_factory=list, max_length=512)
