"""The little of the Kubernetes API that the testbed itself needs, on the standard library alone."""

from __future__ import annotations

import http.client
import json
import ssl
import time
from collections.abc import Mapping
from typing import Any, Self

from finetune_testbed.bed import Testbed

USER_AGENT = "finetune-testbed"
APPLY = "application/apply-patch+yaml"
MERGE = "application/merge-patch+json"


class RequestError(RuntimeError):
    """The API server answered with an error."""

    def __init__(self, method: str, path: str, status: int, message: str) -> None:
        super().__init__(f"{method} {path}: {status} {message}")
        self.status = status


IDLE_SECONDS = 60.0
"""A connection that was silent for longer is opened anew: the API server closes idle ones, after 90 s and more."""


class ApiServer:
    """One kept-alive connection with the admin's certificate, on behalf of ``user`` if one is named; for one thread."""

    def __init__(self, bed: Testbed, seconds: float = 60.0, *, user: str = "") -> None:
        context = ssl.create_default_context(cafile=bed.pki / "ca.crt")
        context.load_cert_chain(bed.pki / "admin.crt", bed.pki / "admin.key")
        self._connection = http.client.HTTPSConnection("127.0.0.1", bed.ports.apiserver, timeout=seconds, context=context)
        self._used = time.monotonic()
        kubelet = {"Impersonate-Group": "system:nodes"} if user.startswith("system:node:") else {}
        self._behalf = {"Impersonate-User": user, **kubelet} if user else {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._connection.close()

    def request(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        content_type: str = "application/json",
        *,
        user_agent: str = USER_AGENT,
        accept: str = "application/json",
    ) -> Any:
        """One call; the decoded JSON answer.

        Raises:
            RequestError: any status of 400 and above.
            OSError: no connection.
        """
        if time.monotonic() - self._used > IDLE_SECONDS:
            self._connection.close()
        self._used = time.monotonic()
        headers = {"User-Agent": user_agent, "Accept": accept, "Content-Type": content_type, **self._behalf}
        self._connection.request(method, path, json.dumps(body) if body is not None else None, headers)
        response = self._connection.getresponse()
        content = response.read()
        if response.status >= 400:
            raise RequestError(method, path, response.status, _message(content))
        return json.loads(content) if content.startswith(b"{") else content.decode()

    def apply(self, path: str, body: Mapping[str, Any]) -> Any:
        """Server-side apply of one object at its own path."""
        return self.request("PATCH", f"{path}?fieldManager={USER_AGENT}&force=true", body, APPLY)


def probe(bed: Testbed, path: str = "/readyz") -> str | None:
    """None when the API server answers `path` well, else why not."""
    try:
        with ApiServer(bed, seconds=5.0) as server:
            server.request("GET", path)
    except (OSError, http.client.HTTPException, RequestError) as error:
        return str(error) or type(error).__name__
    return None


def _message(content: bytes) -> str:
    try:
        return str(json.loads(content).get("message", ""))
    except ValueError:
        return content.decode(errors="replace")[:300]
