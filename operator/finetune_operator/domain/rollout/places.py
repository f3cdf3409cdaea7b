"""Where a person looks when a pod of serving does not run: the fields behind its claims, images, room and Secrets."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from finetune_operator.domain import reading
from finetune_operator.domain.plan import JsonObject

_CLAIMS: Final = ("spec.baseModel.uri", "spec.adapter.uri", "spec.merge.uri")
"""Where one claim holds several, the first is named."""
_INSTALLATION: Final = "image and imagePullSecrets of the operator's installation"


@dataclass(frozen=True)
class Places:
    """What the words about a pod's trouble point to.

    ``claims`` are fields by claim, ``volumes`` all of them in words. ``images`` are by container, ``image`` is of all others. ``room`` asks
    for less; ``resources`` is the field with tolerations and nodeSelector, empty for none. ``secret`` names the one Secret without which
    the pod does not start, empty for none.
    """

    volumes: str
    room: str
    claims: Mapping[str, str] = field(default_factory=dict)
    images: Mapping[str, str] = field(default_factory=dict)
    image: str = _INSTALLATION
    resources: str = ""
    secret: str = ""


ROUTER_PLACES: Final = Places(
    volumes="the router's pod",
    room="lower serving.router.replicas of the operator's installation",
    secret="serving.pinSecret of the operator's installation",  # noqa: S106  a field's name
)
_OWN: Final = "your server's manifest"
OWN_PLACES: Final = Places(volumes=_OWN, room=f"ask for less in {_OWN}", image=f"image and pull secrets in {_OWN}")
"""Pods that a user runs himself: every field is one of his own manifest."""


def server_places(resource: JsonObject) -> Places:
    """Of the server pods of an AdapterDeployment, read off the object however odd it is."""
    spec = resource.get("spec")
    if reading.at(spec, "server", "external") is not None:
        return OWN_PLACES
    job = reading.text(spec, "adapter", "fineTuneJobRef", "name")
    claims = {_claim(reading.text(resource, *name.split("."))): name for name in reversed(_CLAIMS)}
    claims.pop("", None)
    volumes = " and ".join(sorted(claims.values())) + (f" and of spec.artifact.uri of FineTuneJob {job}" if job else "")
    image = "spec.server.managed.image, or imagePullSecrets of the operator's installation"
    return Places(
        volumes=volumes,
        room="ask for less in spec.server.managed.resources or for fewer spec.server.managed.replicas",
        claims=claims,
        images={"engine": image} if reading.text(spec, "server", "managed", "image") else {},
        resources="spec.server.managed.resources",
    )


def of_claim(claim: str, places: Places) -> str:
    """What to do about a claim that is not there, with the field that names it."""
    known = places.claims.get(claim)
    where = f"{known}: " if known else ""
    return f"{where}claim {claim} does not exist in this namespace. Create it, or correct {known or places.volumes}."


def _claim(uri: str) -> str:
    return uri.removeprefix("pvc://").partition("/")[0] if uri.startswith("pvc://") else ""
