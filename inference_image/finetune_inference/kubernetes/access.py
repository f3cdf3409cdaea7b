"""Where the API server is, and how it knows us: what Kubernetes puts into every pod that has a service account.

The files are read anew for every request, because kubelet replaces the token about every hour and the authority when it is renewed.
"""

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

SERVICE_ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_LARGEST: Final = 1 << 20


class AccessMissing(ValueError):
    """This process was not told where the API server is; the message names the option."""


@dataclass(frozen=True)
class Access:
    """``url`` has no path."""

    url: str
    ca_file: Path
    token_file: Path

    @classmethod
    def of(cls, url: str | None, ca_file: Path | None, token_file: Path | None, *, environ: Mapping[str, str]) -> "Access":
        """What was chosen, and for the rest what a pod has. Raises `AccessMissing`."""
        return cls(
            url=(url or _service(environ)).rstrip("/"),
            ca_file=ca_file or SERVICE_ACCOUNT / "ca.crt",
            token_file=token_file or SERVICE_ACCOUNT / "token",
        )

    def token(self) -> str:
        """Raises ``OSError``, or ``ValueError`` with a message for a file that holds none."""
        token = _text(self.token_file).strip()
        if not token or any(character.isspace() for character in token):
            raise ValueError(f"{self.token_file} holds no token")
        return token

    def context(self) -> ssl.SSLContext:
        """Trusts this authority alone; the same object while the file has the same content. Raises ``OSError``, ``ValueError``."""
        return _context(_text(self.ca_file))


def _service(environ: Mapping[str, str]) -> str:
    host, port = environ.get("KUBERNETES_SERVICE_HOST"), environ.get("KUBERNETES_SERVICE_PORT")
    if not (host and port):
        raise AccessMissing("this is no pod of a cluster (KUBERNETES_SERVICE_HOST is not set): name the API server with --kube-api-url")
    return f"https://{f'[{host}]' if ':' in host else host}:{port}"


def _text(path: Path) -> str:
    with path.open("rb") as file:
        content = file.read(_LARGEST + 1)
    if len(content) > _LARGEST or not content.isascii():
        raise ValueError(f"{path} is too large, or no text")
    return content.decode("ascii")


@lru_cache(maxsize=2)
def _context(authority: str) -> ssl.SSLContext:
    return ssl.create_default_context(cadata=authority)
