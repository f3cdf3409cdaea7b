"""What people do in a governed namespace of a real node: submit, approve, read what was decided, and meddle with what lies on volumes."""

import io
import json
import subprocess
import tarfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from demo import claims
from demo.install import NAMESPACE as OPERATOR_NAMESPACE
from demo.kubectl import Kubectl, KubectlError, conditions
from tests.e2e.conftest import EXAMPLE, PIN, PIN_SECRET
from tests.e2e.tenant import Job, Tenant

RECORDS = "finetune-records"
CLEARANCE = "finetune.dev/clearance-level"
DECLARED = {"finetune.dev/level": "internal", "finetune.dev/residency": "any"}
_TOLD_SECONDS = 120.0


def reason(job: Job, kind: str = "Ready") -> str:
    return str(conditions(job).get(kind, {}).get("reason", ""))


def operators(kubectl: Kubectl) -> list[Job]:
    """The operator's pods."""
    return list(kubectl.get("pods", "-n", OPERATOR_NAMESPACE, "-l", "app.kubernetes.io/name=finetune-operator")["items"])


def addresses(pods: list[Job]) -> list[str]:
    return [str(pod["status"]["podIP"]) for pod in pods if pod["status"].get("podIP")]


@dataclass(frozen=True)
class Governed:
    """One governed namespace, and who is known to the API server by the name of this session."""

    kubectl: Kubectl
    namespace: str
    submitter: str

    @property
    def tenant(self) -> Tenant:
        return Tenant(self.kubectl, self.namespace)

    def create(self, kind: str, name: str, spec: Job, labels: dict[str, str] | None = None) -> None:
        """As soon as the API server has been told what holds in the namespace."""
        metadata: Job = {"name": name, "namespace": self.namespace, "labels": labels or {}}
        if kind == "FineTuneJob":
            metadata["annotations"] = {"finetune.dev/submitted-by": self.submitter}
        text = json.dumps({"apiVersion": "finetune.dev/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec}).encode()
        deadline = time.monotonic() + _TOLD_SECONDS
        while True:
            try:
                self.kubectl.run("create", "-f", "-", stdin=text)
            except KubectlError as error:
                if "no params found" not in str(error) or time.monotonic() > deadline:
                    raise
                time.sleep(0.5)
            else:
                return

    def approve(self, job: str, approver: str, stage: str = "Train") -> None:
        digest = self.tenant.get(job)["status"]["governance"]["digest"]
        spec = {"subjectRef": {"name": job}, "subjectDigest": digest, "stage": stage, "approver": approver, "reason": "rows were looked at"}
        metadata = {"name": f"{job}-{approver}", "namespace": self.namespace}
        document = {"apiVersion": "finetune.dev/v1alpha1", "kind": "Approval", "metadata": metadata, "spec": spec}
        self.kubectl.run("create", "--as", approver, "-f", "-", stdin=json.dumps(document).encode())

    def wait_reason(self, job: str, wanted: str, kind: str = "Ready") -> Job:
        return self.tenant.wait(job, lambda found: reason(found, kind) == wanted)

    def steps(self, job: str) -> set[str]:
        """Of which there have been Jobs."""
        listed = self.kubectl.get("jobs", "-n", self.namespace, "-l", f"finetune.dev/finetunejob={job}")
        return {str(item["metadata"]["labels"]["finetune.dev/step"]) for item in listed.get("items", [])}

    def network_policies(self, job: str) -> list[Job]:
        listed = self.kubectl.get("networkpolicies", "-n", self.namespace, "-l", f"finetune.dev/finetunejob={job}")
        return list(listed.get("items", []))

    def on_claims(self, script: str) -> str:
        """Where the claims are mounted below /claims, by whoever may write there."""
        return self.kubectl.run("exec", "-n", self.namespace, claims.LOADER, "--", "sh", "-ec", script)

    def copy_out(self, uri: str, to: Path) -> Path:
        """An adapter's folder, and what lies beside it, as an auditor gets them."""
        place, name = uri.removeprefix("pvc://").rsplit("/", 1)
        script = ("exec", "-n", self.namespace, claims.LOADER, "--", "tar", "-c", "-C", f"/claims/{place}", name, f"{name}.meta")
        archive = subprocess.run(self.kubectl.command(*script), capture_output=True, check=True).stdout
        with tarfile.open(fileobj=io.BytesIO(archive)) as files:
            files.extractall(to, filter="data")
        return to / name

    def export_chain(self, to: Path) -> Path:
        to.write_text(
            self.kubectl.run("get", "configmaps", "-n", RECORDS, "-l", f"finetune.dev/record-namespace={self.namespace}", "-ojson")
        )
        return to


def rules(job: Job) -> set[str]:
    """Of all that was found, whether it blocks or not."""
    return {str(each["rule"]) for each in job["status"]["governance"].get("findings", [])}


def told(log: str) -> list[dict[str, Any]]:
    """Reports of egress probes in a pod's log, oldest first."""
    return [json.loads(line) for line in log.splitlines() if '"egress_probe"' in line]


def begin_namespace(kubectl: Kubectl, namespace: str, image: str, folder: Path) -> None:
    """With the example's claims, the pod that mounts them, and what routers mount; not governed yet."""
    for manifest in ("namespace.yaml", "claims.yaml"):
        text = (EXAMPLE / manifest).read_text().replace(": support", f": {namespace}")
        kubectl.run("apply", "-f", "-", stdin=text.encode())
    kubectl.run("create", "secret", "generic", PIN_SECRET, "-n", namespace, f"--from-literal=token={PIN}")
    loader = folder / "loader.yaml"
    loader.write_text((EXAMPLE / "loader.yaml").read_text().replace(": support", f": {namespace}"))
    claims.start_loader(kubectl, namespace, loader, image)
