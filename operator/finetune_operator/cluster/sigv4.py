"""AWS Signature Version 4, by which S3 servers know who asks: an HMAC over the request, so that the secret itself is never sent.

Source: AWS, Amazon S3 API Reference, "Authenticating Requests: Using the Authorization Header". The clock is an argument.
"""

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from urllib.parse import quote

_SERVICE = "s3"
_ALGORITHM = "AWS4-HMAC-SHA256"


@dataclass(frozen=True)
class Credentials:
    """``session_token`` goes with temporary ones. Neither secret nor token is shown where this is printed."""

    access_key_id: str
    secret_access_key: str = field(repr=False)
    session_token: str = field(default="", repr=False)


@dataclass(frozen=True)
class Request:
    """``host`` as it is sent, with its port where that is not the scheme's; ``path`` as it was before it was quoted."""

    method: str
    host: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def quoted_path(self) -> str:
        return quote(self.path, safe="/~")

    @property
    def quoted_query(self) -> str:
        """In order of the quoted names, as it is signed and sent."""
        return "&".join(f"{name}={value}" for name, value in sorted((_quoted(name), _quoted(value)) for name, value in self.query.items()))


def signed_headers(request: Request, credentials: Credentials, region: str, now: datetime) -> dict[str, str]:
    """All headers to send, the host's included: those of the request, and what proves whose it is."""
    moment = now.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")
    payload = hashlib.sha256(request.body).hexdigest()
    headers = {**request.headers, "host": request.host, "x-amz-content-sha256": payload, "x-amz-date": moment}
    if credentials.session_token:
        headers["x-amz-security-token"] = credentials.session_token
    listed = {name.lower(): " ".join(value.split()) for name, value in headers.items()}
    names = ";".join(sorted(listed))
    lines = "".join(f"{name}:{value}\n" for name, value in sorted(listed.items()))
    canonical = f"{request.method}\n{request.quoted_path}\n{request.quoted_query}\n{lines}\n{names}\n{payload}"
    scope = f"{moment[:8]}/{region}/{_SERVICE}/aws4_request"
    text = f"{_ALGORITHM}\n{moment}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    signature = _mac(_key(credentials, moment[:8], region), text).hex()
    authorization = f"{_ALGORITHM} Credential={credentials.access_key_id}/{scope}, SignedHeaders={names}, Signature={signature}"
    return {**headers, "authorization": authorization}


def _key(credentials: Credentials, day: str, region: str) -> bytes:
    key = f"AWS4{credentials.secret_access_key}".encode()
    for word in (day, region, _SERVICE, "aws4_request"):
        key = _mac(key, word)
    return key


def _mac(key: bytes, text: str) -> bytes:
    return hmac.new(key, text.encode(), hashlib.sha256).digest()


def _quoted(text: str) -> str:
    return quote(text, safe="~")
