"""What the API server refuses, in words for a status: which object, why, the field behind it where there is one, and what to do."""

from typing import Final

from finetune_operator.api.base import LABEL_SERVING_ROLE
from finetune_operator.cluster.errors import Forbidden, Invalid
from finetune_operator.cluster.resources import HTTP_ROUTES
from finetune_operator.domain import reading
from finetune_operator.domain.plan import JsonObject
from finetune_operator.domain.trouble import of_quota
from finetune_operator.manifests.serving import MERGE, SERVER

REFUSED_SECONDS: Final = 60.0
"""After so long a refusal is put to the test again: a quota or a right may have changed."""
_FIELDS: Final = {SERVER: "spec.server.managed", MERGE: "spec.merge"}
_WHY: Final = 640
"""Characters that are kept of the reason, so that the way out fits behind it."""


def refused(manifest: JsonObject, error: Forbidden | Invalid) -> str:
    """An object that may not be made, or changed, like this."""
    why, field = error.explain().strip().rstrip(".")[:_WHY], _field(manifest)
    return f"the API server does not take {_name(manifest)}: {_with_way_out(why, field, error)}"


def name_taken(manifest: JsonObject) -> str:
    """An object whose name somebody else's has."""
    return f"{_name(manifest)} exists and belongs to somebody else. Rename or delete it."


def _with_way_out(why: str, field: str, error: Forbidden | Invalid) -> str:
    quota = of_quota(why, f"{field}.resources" if field in _FIELDS.values() else "")
    if quota is not None:
        return quota
    if isinstance(error, Forbidden):
        return f"{why}. Ask the platform team: a right of the operator or a policy of this namespace is in the way."
    return f"{why}. Correct {field}." if field else f"{why}. Ask whoever installed the operator."


def _name(manifest: JsonObject) -> str:
    return f"{manifest['kind']} {manifest['metadata']['name']}"


def _field(manifest: JsonObject) -> str:
    """The part of the AdapterDeployment's spec from which the object is made; empty where that is the installation's matter."""
    if manifest["kind"] == HTTP_ROUTES.kind:
        return "spec.traffic.httpRoute"
    return _FIELDS.get(reading.text(manifest, "metadata", "labels", LABEL_SERVING_ROLE), "")
