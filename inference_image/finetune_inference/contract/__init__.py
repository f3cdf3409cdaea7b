"""What operator, router, agent and engine tell each other: pydantic only, so that the operator imports the very same definitions."""

from finetune_inference.contract.naming import VERSION_PATTERN, VersionName, digest_prefix_of, version_name
from finetune_inference.contract.routes import (
    POINTS,
    Acknowledgement,
    AppliedRoute,
    Breaker,
    Endpoint,
    Fallback,
    Route,
    RouteTable,
    SchemaCheck,
    Shadow,
    Stickiness,
)
from finetune_inference.contract.tracks import Check, CheckOutcome, Outcome, Track

__all__ = [
    "POINTS",
    "VERSION_PATTERN",
    "Acknowledgement",
    "AppliedRoute",
    "Breaker",
    "Check",
    "CheckOutcome",
    "Endpoint",
    "Fallback",
    "Outcome",
    "Route",
    "RouteTable",
    "SchemaCheck",
    "Shadow",
    "Stickiness",
    "Track",
    "VersionName",
    "digest_prefix_of",
    "version_name",
]
