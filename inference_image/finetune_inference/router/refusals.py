"""What the router itself answers when it does not forward, in the shape that OpenAI clients understand."""

from typing import Any

import orjson
from aiohttp import web

VERSION_HEADER = "x-adapter-version"


class Refused(Exception):
    """Ends a request before it is forwarded; the message says what to do, and holds nothing the caller did not send or may not know."""

    def __init__(self, status: int, code: str, message: str, *, param: str | None = None, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.param = param
        self.retry_after = retry_after


def reply(refused: Refused, version: str | None = None) -> web.Response:
    """The refusal as a reply."""
    headers = {}
    if refused.retry_after is not None:
        headers["Retry-After"] = str(refused.retry_after)
    if refused.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if version is not None:
        headers[VERSION_HEADER] = version
    kind = "server_error" if refused.status >= 500 else "authentication_error" if refused.status == 401 else "invalid_request_error"
    error = {"message": refused.message, "type": kind, "param": refused.param, "code": refused.code}
    return json_reply({"error": error}, refused.status, headers)


def json_reply(document: Any, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(status=status, headers=headers, body=orjson.dumps(document), content_type="application/json")


def unknown_path() -> Refused:
    return Refused(404, "unknown_url", "This router serves POST /v1/chat/completions, POST /v1/completions and GET /v1/models only.")


def unknown_model(alias: str) -> Refused:
    return Refused(404, "model_not_found", f"The model {alias[:64]!r} does not exist; GET /v1/models lists those that do.", param="model")


def unavailable(alias: str) -> Refused:
    return Refused(503, "model_unavailable", f"No server has the model {alias!r} loaded right now; try again.", retry_after=2)


def overloaded() -> Refused:
    return Refused(503, "overloaded", "The router has as many open requests as it may; try again.", retry_after=1)


def pin_refused() -> Refused:
    return Refused(403, "pin_refused", f"The header {VERSION_HEADER} needs a valid x-adapter-pin-token and a version of this model.")
