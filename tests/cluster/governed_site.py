"""A namespace under governance on a testbed: policies that concern it alone, registered data, approvals, an operator that looks."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from finetune_operator.api.base import API_VERSION
from finetune_operator.api.crd import APPROVAL, GOVERNANCE_KINDS, GOVERNANCEPOLICY, TRAININGDATASET, CrdSpec
from finetune_testbed.apiserver import MERGE, RequestError
from finetune_testbed.bed import Testbed
from tests.cluster import crd, finetunejobs, operator_process
from tests.cluster.finetunejobs import Object, Place
from tests.cluster.operator_process import OperatorProcess, until

GOVERNED = {"finetune.dev/governed": "true", "finetune.dev/clearance-level": "restricted"}
DECLARED = {"finetune.dev/level": "internal", "finetune.dev/residency": "any"}
SUBMITTED = {"finetune.dev/submitted-by": "ann"}


class Site:
    """What people do there: platform team, steward, engineer, approver."""

    def __init__(self, here: Place) -> None:
        self.here = here
        self.policies: list[str] = []

    def label(self, labels: dict[str, str | None]) -> None:
        self.here.server.request("PATCH", f"/api/v1/namespaces/{self.here.namespace}", {"metadata": {"labels": labels}}, MERGE)

    def demand(self, name: str = "house", **spec: Any) -> None:
        """Create or replace a policy that matches this namespace."""
        name = f"{self.here.namespace}-{name}"
        match = {"namespaceLabels": {"kubernetes.io/metadata.name": self.here.namespace}, **spec.pop("match", {})}
        self.here.server.apply(f"{crd.path_of(GOVERNANCEPOLICY)}/{name}", _document(GOVERNANCEPOLICY, name, {"match": match, **spec}))
        self.policies.append(name)

    def register(self, name: str = "tickets", **spec: Any) -> None:
        document = _document(TRAININGDATASET, name, {"uri": "pvc://data/tickets.jsonl", "level": "internal", **spec})
        self.here.server.request("POST", self._path(TRAININGDATASET), document)

    def registered(self, name: str = "tickets") -> Object:
        """The status of registered data."""
        found = self.here.server.request("GET", self.here.path(TRAININGDATASET.plural, name, group=API_VERSION))
        return dict(found.get("status") or {})

    def approve(
        self, job: str, approver: str, digest: str, stage: str = "Train", expires_at: str | None = None, *, dry_run: bool = False
    ) -> None:
        spec = {"subjectRef": {"name": job}, "subjectDigest": digest, "stage": stage, "approver": approver, "reason": "reviewed"}
        spec |= {"expiresAt": expires_at} if expires_at else {}
        path = f"{self._path(APPROVAL)}{'?dryRun=All' if dry_run else ''}"
        self.here.server.request("POST", path, _document(APPROVAL, f"{job}-{approver}-{stage.lower()}", spec))

    def withdraw(self, job: str, approver: str, stage: str = "Train") -> None:
        self.here.server.request("DELETE", f"{self._path(APPROVAL)}/{job}-{approver}-{stage.lower()}")

    def submit(self, name: str, labels: dict[str, str] | None = None, **changes: Any) -> Object:
        """A job as an engineer writes it, labels and all."""
        document = finetunejobs.manifest(name, self.here.namespace, changes)
        if "dataset__ref" in changes:
            document["spec"]["dataset"].pop("inline")
        document["metadata"] |= {"labels": DECLARED if labels is None else labels, "annotations": SUBMITTED}
        answer: Object = self.here.server.apply(self.here.job_path(name), document)
        return answer

    def digest(self, name: str) -> str:
        return str(until(lambda: (self.here.status(name).get("governance") or {}).get("digest")))

    def _path(self, kind: CrdSpec) -> str:
        return self.here.path(kind.plural, group=API_VERSION)


def _document(kind: CrdSpec, name: str, spec: Object) -> Object:
    return {"apiVersion": API_VERSION, "kind": kind.kind, "metadata": {"name": name}, "spec": spec}


@contextmanager
def site(bed: Testbed) -> Iterator[Site]:
    """A governed namespace; its policies go with it."""
    with finetunejobs.place(bed) as here:
        for kind in GOVERNANCE_KINDS:
            crd.install(here.server, kind)
        made = Site(here)
        made.label(dict(GOVERNED))
        try:
            yield made
        finally:
            for name in dict.fromkeys(made.policies):
                try:
                    here.server.request("DELETE", f"{crd.path_of(GOVERNANCEPOLICY)}/{name}")
                except RequestError as error:
                    if error.status != 404:
                        raise


@contextmanager
def governing(here: Place, folder: Path, *flags: str) -> Iterator[OperatorProcess]:
    """An operator that looks after governance there."""
    with operator_process.running(here.bed.kubeconfig, folder, ("--namespace", here.namespace, "--governance", *flags)) as process:
        yield process
