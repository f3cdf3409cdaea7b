"""Where a bucket for checkpoints is, who asks it, and what there is to say about it.

Credentials are read when they are needed: mounted ones are renewed. They are in no message.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Final, Literal
from urllib.parse import urlsplit

from finetune_operator.cluster.sigv4 import Credentials

KEY_ID_FILE, SECRET_FILE, TOKEN_FILE = "access-key-id", "secret-access-key", "session-token"
KEY_ID_VARIABLE, SECRET_VARIABLE, TOKEN_VARIABLE = "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"

_BUCKET: Final = re.compile(r"[a-z0-9][-a-z0-9.]{1,61}[a-z0-9]")
_PREFIX: Final = re.compile(r"([A-Za-z0-9][-A-Za-z0-9._]*/)*")
_REGION: Final = re.compile(r"[a-z0-9][-a-z0-9]{0,62}")
_VISIBLE: Final = re.compile(r"[!-~]{1,4096}")


class BucketError(Exception):
    """The bucket did not do what was asked, now; the text says what and why and holds no secret."""


class NoSuchBucket(BucketError):
    """There is none of this name at this endpoint."""


class NoObjectLock(BucketError):
    """Whoever may write there may also rewrite: it is no anchor."""


class KeyTaken(BucketError):
    """An object of this name exists; it was left as it is."""


class Mode(StrEnum):
    """``Compliance``: nobody may end it earlier. ``Governance``: whoever has the right to bypass it may."""

    COMPLIANCE = "COMPLIANCE"
    GOVERNANCE = "GOVERNANCE"


@dataclass(frozen=True)
class Retention:
    """How long one version of an object cannot be deleted."""

    mode: Mode
    until: datetime

    @classmethod
    def from_now(cls, mode: Mode, now: datetime, days: int) -> "Retention":
        return cls(mode, (now + timedelta(days=days)).replace(microsecond=0))

    def holds(self, asked: "Retention") -> bool:
        """Whether this is at least what was asked."""
        return self.mode in (asked.mode, Mode.COMPLIANCE) and self.until >= asked.until


@dataclass(frozen=True)
class ObjectVersion:
    """One version of an object; the content of a ``marker`` is that the object is said to be deleted."""

    key: str
    version: str
    written: datetime
    marker: bool = False


@dataclass(frozen=True)
class BucketPlace:
    """Where it is and how it is addressed. ``prefix`` is empty or ends with a slash. Raises ``ValueError`` that says what to write."""

    endpoint: str
    bucket: str
    prefix: str = ""
    region: str = "us-east-1"
    addressing: Literal["path", "virtual"] = "path"
    ca_file: Path | None = None

    def __post_init__(self) -> None:
        if not _is_address(self.endpoint):
            raise ValueError("the endpoint is http(s)://host:port, without user, path and query")
        if not _BUCKET.fullmatch(self.bucket):
            raise ValueError("a bucket's name has 3 to 63 lower-case letters, digits, dots and hyphens")
        if len(self.prefix) > 256 or not _PREFIX.fullmatch(self.prefix):
            raise ValueError("a prefix has words of letters, digits, dots, hyphens and underscores, each followed by a slash")
        if not _REGION.fullmatch(self.region):
            raise ValueError("a region has lower-case letters, digits and hyphens")
        if self.ca_file is not None and not self.endpoint.startswith("https:"):
            raise ValueError("authorities need an https endpoint")

    @property
    def host(self) -> str:
        """As it is sent: a port that is the scheme's own is left out."""
        parts = urlsplit(self.endpoint)
        usual = {"http": 80, "https": 443}[parts.scheme]
        name = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else str(parts.hostname)
        host = name if parts.port in (None, usual) else f"{name}:{parts.port}"
        return f"{self.bucket}.{host}" if self.addressing == "virtual" else host

    def path(self, key: str = "") -> str:
        return f"/{key}" if self.addressing == "virtual" else f"/{self.bucket}" + (f"/{key}" if key else "")

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.prefix}"


def credentials_in(folder: Path) -> Credentials:
    """Those of a mounted Secret with the entries above; the session token may be absent. Raises `BucketError`."""
    return Credentials(_entry(folder / KEY_ID_FILE), _entry(folder / SECRET_FILE), _entry(folder / TOKEN_FILE, optional=True))


def credentials_of(environment: Mapping[str, str] = os.environ) -> Credentials:
    """Those that the usual variables hold. Raises `BucketError` where they do not."""
    key_id, secret = environment.get(KEY_ID_VARIABLE, ""), environment.get(SECRET_VARIABLE, "")
    if not key_id or not secret:
        raise BucketError(f"no credentials: set {KEY_ID_VARIABLE} and {SECRET_VARIABLE}")
    return Credentials(key_id, secret, environment.get(TOKEN_VARIABLE, ""))


def _entry(file: Path, *, optional: bool = False) -> str:
    try:
        text = file.read_text().strip()
    except FileNotFoundError:
        if optional:
            return ""
        raise BucketError(f"no credentials: {file} is not there") from None
    except (OSError, UnicodeDecodeError) as error:
        raise BucketError(f"no credentials: {file} cannot be read ({type(error).__name__})") from error
    if not _VISIBLE.fullmatch(text):
        raise BucketError(f"no credentials: {file} does not hold visible characters in one line")
    return text


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        plain = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        return plain and parts.path in ("", "/") and not {"@", "?", "#"} & set(url)
    except ValueError:
        return False  # a port or an address that is none
