"""The whole chain in small, and what a user does to it: every process is real, and what lies between them is what the API server stores."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetune_operator.api.base import LABEL_PREFIX
from finetune_testbed.apiserver import MERGE
from finetune_testbed.audit import AuditLog
from finetune_testbed.bed import Testbed
from tests.cluster import operator_process, serving_site
from tests.cluster.operator_process import OperatorProcess
from tests.cluster.serving.chronicle import Chronicle, Verdict
from tests.cluster.serving.pods import EngineProgram
from tests.cluster.serving_site import FAST, NAME, Site
from tests.engines.artifacts import Published

PATIENCE = 240.0
"""Seconds for what must come, also where a busy machine makes routers late with their answers, without which nothing may pass."""
SCHEMA = {"type": "object", "properties": {"team": {"type": "string"}}, "required": ["team"]}


@dataclass
class Chain:
    """Two routers of two workers each, server pods, and the operator; ``spec`` is that of the deployment beside its adapter."""

    site: Site
    operator: OperatorProcess
    spec: dict[str, Any]
    audit: AuditLog
    mark: int
    orders: int = 0

    def apply(self, adapter: Published, **changes: Any) -> str:
        """Ask for this one; its version."""
        self.site.apply(adapter, **self.spec | changes)
        return adapter.name(NAME)

    def promote(self, adapter: Published) -> None:
        """Roll it out until it answers all callers."""
        version = self.apply(adapter)
        self.wait(lambda status: stable(status) == version and not status.get("rollout"), f"{version} stable")

    def wait_taken_back(self, adapter: Published) -> str:
        """Until nobody gets it any more; why."""
        reasons: dict[str, str] = {}

        def over(status: dict[str, Any]) -> bool:
            reasons.update({entry["digest"]: entry["message"] for entry in status.get("failedVersions") or []})
            return adapter.digest in reasons and not status.get("rollout")

        self.wait(over, f"{adapter.name(NAME)} taken back")
        return reasons[adapter.digest]

    def wait(self, wanted: Callable[[dict[str, Any]], Any], what: str) -> None:
        self.site.wait(wanted, what, seconds=PATIENCE)

    def order(self, word: str) -> None:
        """What a person orders once, by the annotation."""
        self.orders += 1
        annotations = {f"{LABEL_PREFIX}rollout": f"{word}:{self.orders}"}
        self.site.place.server.request("PATCH", self.site.path(NAME), {"metadata": {"annotations": annotations}}, MERGE)

    def verdicts(self, chronicle: Chronicle) -> list[Verdict]:
        return chronicle.verdicts(self.operator, self.audit, self.mark)


def stable(status: dict[str, Any]) -> str:
    """The version that answers callers who are not the canary's."""
    return str((status.get("stable") or {}).get("version") or "")


@contextmanager
def chain(bed: Testbed, folder: Path, spec: dict[str, Any], *, servers: int = 1, program: EngineProgram | None = None) -> Iterator[Chain]:
    audit = AuditLog(bed)
    mark = audit.mark()
    with serving_site.site(bed, folder, servers=servers, routers=2, workers=2, program=program) as site:
        config = {"metadata": {"name": NAME}, "data": {"schema.json": json.dumps(SCHEMA)}}
        site.place.server.request("POST", site.place.path("configmaps"), config)
        with operator_process.running(bed.kubeconfig, folder, ("--namespace", site.place.namespace, *FAST)) as operator:
            yield Chain(site, operator, spec, audit, mark)
