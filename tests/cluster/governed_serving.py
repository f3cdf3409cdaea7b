"""Serving in small in a governed namespace: the site of rollouts, with registered data and jobs that have made the adapters."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from finetune_operator.api.crd import GOVERNANCE_KINDS
from finetune_testbed.apiserver import MERGE
from finetune_testbed.bed import Testbed
from tests.cluster import crd, governed_site, serving_site
from tests.cluster.finetunejobs import Object
from tests.cluster.serving_site import FAST, Site
from tests.engines.artifacts import Published

NAMESPACE = {"finetune.dev/governed": "true", "finetune.dev/clearance-level": "internal"}
DECLARED = {"finetune.dev/level": "internal", "finetune.dev/residency": "any"}
QUICK = {"strategy": {"canary": {"steps": [{"weight": 50, "bakeSeconds": 0, "analysis": []}]}}}

RECORD: Object = {"record": {"sequence": 1, "digest": "sha256:" + "a" * 64, "keyId": "b" * 64}}


class GovernedSite:
    """``site`` is that of rollouts; ``people`` are those of governance."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.people = governed_site.Site(site.place)

    def arguments(self, *more: str) -> tuple[str, ...]:
        return ("--namespace", self.site.place.namespace, *FAST, "--governance", *more)

    def made_of(self, job: str, runs: list[tuple[Published, str]], level: str = "internal", *, signed: bool = False) -> None:
        """A job that is held, with a past: each of its runs has made an adapter of a dataset; ``signed``, and a record was written."""
        place, past = self.site.place, list(enumerate(runs, start=1))
        self.people.submit(job, suspend=True)
        more = RECORD if signed else {}
        history = [{**_run(number, adapter, data), **more} for number, (adapter, data) in reversed(past)]
        governance = {"decision": "Allow", "passed": True, "classification": {"level": level}}
        status = {"observedGeneration": 1, "history": history, "governance": governance}
        place.server.request("PATCH", place.job_path(job) + "/status", {"status": status}, MERGE)

    def deploy(self, name: str, adapter: Published, labels: dict[str, str] | None = None, **changes: object) -> None:
        self.site.deployments.add(name)
        document = serving_site.manifest(self.site.place.namespace, name, adapter, {**QUICK, **changes})
        document["metadata"]["labels"] = DECLARED if labels is None else labels
        self.site.place.server.apply(self.site.path(name), document)

    def withdraw(self, dataset: str, reason: str = "consent revoked") -> None:
        path = self.site.place.path("trainingdatasets", dataset, "finetune.dev/v1alpha1")
        self.site.place.server.request("PATCH", path, {"spec": {"withdrawn": {"reason": reason}}}, MERGE)


def _run(number: int, adapter: Published, data: str) -> Object:
    return {
        "number": number,
        "key": f"{number:064x}",
        "name": f"run-{number}",
        "generation": 1,
        "inputs": {"dataset": {"name": data, "uri": f"pvc://data/{data}.jsonl"}},
        "finishedAt": "2026-11-20T10:00:00Z",
        "outcome": "Succeeded",
        "reason": "RunSucceeded",
        "gate": "GatePassed",
        "artifactUri": adapter.uri,
        "artifactDigest": adapter.digest,
    }


@contextmanager
def site(bed: Testbed, folder: Path, *, servers: tuple[str, ...] = (serving_site.NAME,), governed: bool = True) -> Iterator[GovernedSite]:
    """A server for each deployment of these names."""
    with serving_site.site(bed, folder, servers=0) as here:
        for kind in GOVERNANCE_KINDS:
            crd.install(here.place.server, kind)
        made = GovernedSite(here)
        for name in servers:
            here.add_server(name)
        if governed:
            made.people.label(dict(NAMESPACE))
        yield made
