"""What a request to the API server can end with. Messages hold no object and no token."""


class ApiError(Exception):
    """``retry_after``: seconds that the API server asks for."""

    def __init__(self, message: str, *, retry_after: float = 0.0) -> None:
        super().__init__(message)
        self.message = message
        self.retry_after = retry_after


class Away(ApiError):
    """Nobody answers, the answer breaks off, or there is too much to do; a watch may go on from where it was."""


class Unreadable(ApiError):
    """The answer is none, or the API server failed at it: list anew, so that a watch does not meet the same again."""


class Refused(ApiError):
    """It answers, and will not do this: a right, a selector or the definition of the kind is wrong or missing."""


class Expired(ApiError):
    """The resource version is forgotten: list anew."""


def from_status(code: int, reason: str, text: str, *, request: str, retry_after: float = 0.0) -> ApiError:
    """The class of a status code; ``text`` is the API server's own."""
    message = f"{request}: {code} {reason or 'without a reason'}: {text[:400]}"
    if code == 410:
        return Expired(message)
    if code == 429:
        return Away(message, retry_after=retry_after)
    return Unreadable(message, retry_after=retry_after) if code >= 500 else Refused(message)
