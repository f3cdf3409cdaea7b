"""How parts of a process are begun: by name, and with it they live and end."""

from collections.abc import Coroutine
from typing import Any, Protocol


class StartTask(Protocol):
    """Runs a part as long as the process; its end is the process's."""

    def __call__(self, name: str, part: Coroutine[Any, Any, None]) -> Any: ...
