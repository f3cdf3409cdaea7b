"""The six ways in which the API server says no, so that the rest of the operator knows classes and never status codes.

Each class has exactly one policy in the worker. What a person wrote wrongly is not an error of this kind; it ends as a condition.
"""

from dataclasses import dataclass
from typing import Any

import orjson

MESSAGE_LIMIT = 1024


@dataclass(frozen=True)
class Cause:
    """One field the API server objected to, from ``Status.details.causes``."""

    field: str
    message: str


class ApiError(Exception):
    """A request that did not succeed.

    ``status`` is 0 when no answer came, ``reason`` is the machine-readable word of the ``Status`` object, ``retry_after`` is in seconds.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int = 0,
        reason: str = "",
        causes: tuple[Cause, ...] = (),
        retry_after: float | None = None,
        request: str = "",
    ) -> None:
        super().__init__(message)
        self.message = message[:MESSAGE_LIMIT]
        self.status = status
        self.reason = reason
        self.causes = causes
        self.retry_after = retry_after
        self.request = request

    def __str__(self) -> str:
        where = f" ({self.request})" if self.request else ""
        return f"{self.status or 'no answer'} {self.reason}: {self.message}{where}"

    @property
    def already_exists(self) -> bool:
        return self.reason == "AlreadyExists"

    @property
    def expired(self) -> bool:
        """The resource version or the continue token is too old: list again."""
        return self.status == 410 or self.reason in {"Expired", "Gone"}

    def explain(self) -> str:
        """What a person needs: the fields that were refused, or the message; a rejected Job prints its whole template otherwise."""
        if self.causes:
            return "; ".join(f"{cause.field}: {cause.message}" if cause.field else cause.message for cause in self.causes)[:MESSAGE_LIMIT]
        return self.message


class Conflict(ApiError):
    """409, 410: the object is not as we believed; look again."""


class NotFound(ApiError):
    """404."""


class Throttled(ApiError):
    """429: come back after ``retry_after``."""


class Forbidden(ApiError):
    """401, 403: our rights, a quota or an admission policy."""


class Invalid(ApiError):
    """400, 413, 422, and the 500 with which a server-side apply answers to an unknown field: the same request can never succeed."""


class Unavailable(ApiError):
    """5xx, a timeout, a broken connection: nobody knows whether a write happened."""


_CLASS_OF_STATUS: dict[int, type[ApiError]] = {
    400: Invalid,
    401: Forbidden,
    403: Forbidden,
    404: NotFound,
    405: Invalid,
    406: Invalid,
    409: Conflict,
    410: Conflict,
    413: Invalid,
    415: Invalid,
    422: Invalid,
    429: Throttled,
}

_TYPED_PATCH = "failed to create typed patch object"


def error_from_status(document: dict[str, Any], *, request: str = "", retry_after: float | None = None) -> ApiError:
    """The error that a ``Status`` object stands for, be it the body of an answer or an ``ERROR`` event of a watch."""
    code = int(document.get("code") or 500)
    message = str(document.get("message") or "")
    details = document.get("details") or {}
    causes = tuple(
        Cause(field=str(cause.get("field") or "")[:256], message=str(cause.get("message") or "")[:512])
        for cause in (details.get("causes") or [])[:8]
    )
    kind = _CLASS_OF_STATUS.get(code, Unavailable)
    if code == 500 and _TYPED_PATCH in message:
        kind = Invalid
    after = details.get("retryAfterSeconds")
    return kind(
        message,
        status=code,
        reason=str(document.get("reason") or ""),
        causes=causes,
        retry_after=float(after) if after else retry_after,
        request=request,
    )


def error_from_response(status: int, body: bytes, headers: dict[str, str], *, request: str = "") -> ApiError:
    """The error for an answer; what is not a ``Status`` object (a proxy's page) is reported by its code and first line."""
    try:
        retry_after = float(headers["Retry-After"]) if "Retry-After" in headers else None
    except ValueError:
        retry_after = None
    document = _parse_status(body)
    if document is None:
        text = body[:200].decode(errors="replace").split("\n", 1)[0]
        document = {"code": status, "message": text}
    return error_from_status({**document, "code": status}, request=request, retry_after=retry_after)


def _parse_status(body: bytes) -> dict[str, Any] | None:
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    return document if isinstance(document, dict) and document.get("kind") == "Status" else None
