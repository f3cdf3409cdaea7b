"""Refusals, in the shape that OpenAI clients parse and with the words that vLLM uses for their type."""

from typing import Any


class RequestError(Exception):
    """Ends as a status and a JSON error; ``param`` names the field to change."""

    def __init__(self, status: int, kind: str, message: str, *, param: str | None = None, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.kind = kind
        self.message = message
        self.param = param
        self.retry_after = retry_after

    def body(self) -> dict[str, Any]:
        return {"error": {"message": self.message, "type": self.kind, "param": self.param, "code": self.status}}


def invalid(message: str, param: str | None = None) -> RequestError:
    return RequestError(400, "BadRequestError", message, param=param)


def no_such_model(name: str) -> RequestError:
    return RequestError(404, "NotFoundError", f"The model `{name}` does not exist.", param="model")


def overloaded(waiting: int) -> RequestError:
    return RequestError(503, "ServiceUnavailableError", f"{waiting} requests are waiting already; try again.", retry_after=1)


def stopping() -> RequestError:
    return RequestError(503, "ServiceUnavailableError", "This server is shutting down; try another.", retry_after=1)


def broken(message: str) -> RequestError:
    return RequestError(500, "InternalServerError", message)
