"""What a probe of egress tries and what it reports: nothing outside may answer from where regulated data are, or will be.

A probe tries an address outside that answers whoever can reach it, the metadata service of the node, and a name outside through the
cluster's DNS. Reports name what was tried and how often it answered, never what it answered.
"""

import re
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from finetune_trainer.contract.base import Document, Named

METADATA = "169.254.169.254:80"
"""Where clouds give credentials of the node to whoever asks from it."""
OUTSIDE_NAME = "example.com"
"""A name that every resolver of the world knows, reserved for such uses (RFC 2606)."""

_ENDPOINT = re.compile(r"(?:\[(?P<six>[0-9a-fA-F:.]+)\]|(?P<host>[A-Za-z0-9][-A-Za-z0-9.]*)):(?P<port>[0-9]{1,5})")


def endpoint(text: str) -> tuple[str, int]:
    """Host and port of ``host:port`` or ``[IPv6]:port``; raises ``ValueError``."""
    match = _ENDPOINT.fullmatch(text)
    if match is None or not 1 <= int(match["port"]) <= 65_535:
        raise ValueError(f"{text[:64]!r} is not HOST:PORT")
    return match["six"] or match["host"], int(match["port"])


class Probe(StrEnum):
    """What the egress probe found: nothing outside answered, something did, or a target that should answer did not."""

    CLOSED = "Closed"
    OPEN = "Open"
    INCONCLUSIVE = "Inconclusive"


class Tried(Document):
    """One target, over all rounds."""

    target: Annotated[str, StringConstraints(max_length=263)]
    tries: int = Field(ge=0)
    answered: int = Field(ge=0)


class EgressReport(Named):
    """``Closed``: in as many rounds as were asked for, one after another, nothing answered. Its content digest stands for the probe."""

    kind: str = Field(default="EgressReport", pattern="^EgressReport$")
    result: Literal[Probe.CLOSED, Probe.OPEN]
    rounds: int = Field(ge=0)
    tried: tuple[Tried, ...] = Field(default=(), max_length=4)

    @property
    def answering(self) -> tuple[str, ...]:
        """What answered at least once."""
        return tuple(each.target for each in self.tried if each.answered)
