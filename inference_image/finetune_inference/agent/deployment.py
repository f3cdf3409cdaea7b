"""The desired set in an AdapterDeployment: what is wanted from its status, what the engine is from its spec. Pure."""

from collections.abc import Mapping
from typing import Any, Final

from pydantic import ValidationError

from finetune_inference.agent.sources import SourceAway
from finetune_inference.contract import DesiredSet

_PLACES: Final = {
    ("engine", "limits"): "spec.server.capacity",
    ("engine", "kind"): "spec.server.managed.engine",
    ("base", "digest"): "spec.baseModel.digest",
    ("generation",): "status.desired.generation",
    ("versions",): "status.desired.versions",
    ("proof",): "status.desired.proof",
}
"""Where the fields of a desired set stand in the object."""


def desired_set(deployment: Mapping[str, Any], base_name: str, only: str | None = None) -> DesiredSet | SourceAway:
    """What its agents are to hold. `SourceAway` before the operator has written that, and for what is none.

    ``base_name`` is what the engine calls the base model. Of the spec only what is named here is read: the rest is none of an agent's
    business, and may be of a newer version. ``only``: the versions of other pods are left out.
    """
    spec, status = _part(deployment, "spec"), _part(deployment, "status")
    desired = _part(status, "desired")
    if not desired:
        return SourceAway("status.desired: nothing is wanted yet")
    server = _part(spec, "server")
    document = {
        "generation": desired.get("generation"),
        "base": {"name": base_name, "digest": _part(spec, "baseModel").get("digest")},
        "engine": {"kind": _part(server, "managed").get("engine", "vLLM"), "limits": _part(server, "capacity")},
        "requireEffect": _part(spec, "preflight").get("effectProbe") != "Off",
        "versions": _of(desired.get("versions") or [], only),
        "proof": desired.get("proof"),
    }
    try:
        return DesiredSet.model_validate(document)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        return SourceAway(f"{_place(first['loc'])}: {first['msg']}"[:400])


def _of(versions: Any, only: str | None) -> Any:
    """Those of these pods; what is no list stays what it is, and is refused by its place."""
    return [version for version in versions if only is None or _names(version, only)] if isinstance(versions, list) else versions


def _names(version: Any, name: str) -> bool:
    return isinstance(version, Mapping) and version.get("name") == name


def _part(document: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = document.get(name)
    return found if isinstance(found, Mapping) else {}


def _place(location: tuple[int | str, ...]) -> str:
    for beginning, place in _PLACES.items():
        if location[: len(beginning)] == beginning:
            return ".".join([place, *map(str, location[len(beginning) :])])
    return ".".join(map(str, location)) or "status.desired"
