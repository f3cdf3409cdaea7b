"""The custom resource definition on a real API server, and FineTuneJobs to try it with."""

import copy
import time
from typing import Any

from finetune_operator.api.base import API_VERSION, GROUP, VERSION
from finetune_operator.api.crd import FINETUNEJOB, CrdSpec
from finetune_testbed.apiserver import ApiServer, RequestError

NAMESPACE = "default"


def path_of(kind: CrdSpec) -> str:
    """Where objects of the kind are."""
    place = f"namespaces/{NAMESPACE}/" if kind.namespaced else ""
    return f"/apis/{GROUP}/{VERSION}/{place}{kind.plural}"


PATH = path_of(FINETUNEJOB)
DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
ABSENT = object()

MINIMAL: dict[str, Any] = {
    "baseModel": {"uri": "pvc://models/tiny-chat"},
    "dataset": {"inline": {"uri": "pvc://data/tickets.jsonl"}},
    "artifact": {"uri": "pvc://adapters/support"},
}


def install(server: ApiServer, kind: CrdSpec = FINETUNEJOB) -> None:
    """Apply the definition and wait until objects of the kind can be listed (404, then 429 while its storage begins)."""
    server.apply(f"{DEFINITIONS}/{kind.name}", kind.to_manifest())
    deadline = time.monotonic() + 120
    while True:
        try:
            server.request("GET", path_of(kind))
        except RequestError as error:
            if error.status not in (404, 429) or time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return


def job(name: str = "ticket-router", changes: dict[str, Any] | None = None) -> dict[str, Any]:
    """The smallest FineTuneJob with some fields changed: dotted path below ``spec`` to value, or ``ABSENT``."""
    spec = copy.deepcopy(MINIMAL)
    for path, value in (changes or {}).items():
        *parents, leaf = path.split(".")
        place = spec
        for parent in parents:
            place = place.setdefault(parent, {})
        if value is ABSENT:
            place.pop(leaf, None)
        else:
            place[leaf] = value
    return {"apiVersion": API_VERSION, "kind": "FineTuneJob", "metadata": {"name": name, "namespace": NAMESPACE}, "spec": spec}
