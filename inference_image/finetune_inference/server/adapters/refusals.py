"""Why an adapter is not loaded: with the field or file, the reason and the next action."""


class AdapterRefused(Exception):
    """``status`` is what vLLM answers in the like case."""

    def __init__(self, message: str, *, status: int = 400) -> None:
        super().__init__(message)
        self.message = message
        self.status = status


def not_found(message: str) -> AdapterRefused:
    return AdapterRefused(message, status=404)
