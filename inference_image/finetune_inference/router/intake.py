"""From bytes of a client to a request that can be forwarded: parsed once, and rebuilt with another model name.

The body is serialised anew, never patched: a second ``model`` key or any other trick of spelling cannot reach the engine.
"""

from dataclasses import dataclass
from typing import Any

import orjson

from finetune_inference.router.refusals import Refused

USER_LIMIT = 512


@dataclass(frozen=True)
class Asked:
    """What one client wants."""

    alias: str
    document: dict[str, Any]
    size: int

    @property
    def user(self) -> str:
        """The ``user`` field, as far as it can be a caller's name."""
        user = self.document.get("user")
        return user[:USER_LIMIT] if isinstance(user, str) else ""

    def body_for(self, version: str) -> bytes:
        """The request's body with the version's name for a model."""
        return orjson.dumps({**self.document, "model": version})


def parse(body: bytes) -> Asked:
    """Raises `Refused` with the field that is wrong."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise Refused(400, "invalid_json", "The body is not valid JSON (UTF-8, no NaN, at most 1024 levels deep).") from None
    if not isinstance(document, dict):
        raise Refused(400, "invalid_json", "The body must be a JSON object.")
    alias = document.get("model")
    if not isinstance(alias, str) or not alias:
        raise Refused(400, "model_missing", "The field 'model' must be a non-empty string.", param="model")
    return Asked(alias, document, len(body))
