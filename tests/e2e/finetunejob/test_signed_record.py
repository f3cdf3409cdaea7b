"""A governed run on a real node: trained, signed, published; the copied folder verifies without its cluster, a changed byte does not."""

import io
import json
import subprocess
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from demo import claims
from demo.environment import Environment
from demo.install import NAMESPACE as OPERATOR_NAMESPACE
from demo.install import install
from demo.kubectl import Kubectl, KubectlError
from finetune_cli.main import main as finetune
from tests.cluster import signed_site
from tests.e2e import tenant as tenants
from tests.e2e.conftest import EXAMPLE, PACE, PIN_SECRET
from tests.e2e.tenant import Job

NAMESPACE, RECORDS, SECRET = "governed-tickets", "finetune-records", "finetune-signing"
SIGNED = ("governance.enabled=true", f"governance.signing.secretName={SECRET}")
ADMITTED_SECONDS = 120.0


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return signed_site.write_key(tmp_path_factory.mktemp("key"))


@pytest.fixture(scope="module")
def governed(installed: Environment, kubectl: Kubectl, base_model: Path, datasets: Path, key: Path) -> Iterator[Kubectl]:
    """The release with governance and a key, and a governed namespace with its claims; afterwards all is as it was."""
    for manifest in ("namespace.yaml", "claims.yaml"):
        text = (EXAMPLE / manifest).read_text().replace(": support", f": {NAMESPACE}")
        kubectl.run("apply", "-f", "-", stdin=text.encode())
    kubectl.run("delete", "secret", SECRET, "-n", OPERATOR_NAMESPACE, "--ignore-not-found")
    kubectl.run("create", "secret", "generic", SECRET, "-n", OPERATOR_NAMESPACE, f"--from-file=signing.pem={key}")
    loader = key.with_name("loader.yaml")
    loader.write_text((EXAMPLE / "loader.yaml").read_text().replace(": support", f": {NAMESPACE}"))
    claims.start_loader(kubectl, NAMESPACE, loader, installed.trainer_image)
    claims.put(kubectl, NAMESPACE, base_model, "/claims/models/tiny-chat")
    claims.put(kubectl, NAMESPACE, datasets / "tickets.jsonl", "/claims/datasets")
    install(installed, print, *PACE, f"serving.pinSecret={PIN_SECRET}", *SIGNED)
    kubectl.run("label", "namespace", NAMESPACE, "finetune.dev/governed=true", "finetune.dev/clearance-level=internal")
    policy = {"match": {"namespaceLabels": {"kubernetes.io/metadata.name": NAMESPACE}}, "egress": "Open"}
    document = {"apiVersion": "finetune.dev/v1alpha1", "kind": "GovernancePolicy", "metadata": {"name": "signed"}, "spec": policy}
    kubectl.run("apply", "-f", "-", stdin=json.dumps(document).encode())
    yield kubectl
    kubectl.run("delete", "governancepolicy", "signed", "--ignore-not-found")
    kubectl.run("delete", "namespace", NAMESPACE, "--wait=true")
    install(installed, print, *PACE, f"serving.pinSecret={PIN_SECRET}")
    kubectl.run("delete", "namespace", RECORDS, "--wait=true")


def job(kubectl: Kubectl) -> Job:
    made = tenants.manifest("signed", task={"type": "Style", "outputSchema": None}, evaluation={"metrics": ["ExactMatch"]})
    who = kubectl.run("auth", "whoami", "-o", "jsonpath={.status.userInfo.username}")
    labels = {"finetune.dev/level": "internal", "finetune.dev/residency": "any"}
    made["metadata"] = {"name": "signed", "namespace": NAMESPACE, "labels": labels, "annotations": {"finetune.dev/submitted-by": who}}
    return made


def submit(kubectl: Kubectl, made: Job) -> None:
    """As soon as the API server has been told what holds in the namespace."""
    deadline = time.monotonic() + ADMITTED_SECONDS
    while True:
        try:
            kubectl.run("apply", "-f", "-", stdin=json.dumps(made).encode())
        except KubectlError as error:
            if "no params found" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.5)
        else:
            return


def finished(kubectl: Kubectl) -> Job:
    """Its status, once it is Ready."""
    try:
        kubectl.run("wait", "finetunejob/signed", "-n", NAMESPACE, "--for=condition=Ready", "--timeout=600s")
    except KubectlError as error:
        raise AssertionError(f"{error}: {kubectl.get('finetunejob', 'signed', '-n', NAMESPACE).get('status')}") from error
    status: Job = kubectl.get("finetunejob", "signed", "-n", NAMESPACE)["status"]
    return status


def copy_out(kubectl: Kubectl, uri: str, to: Path) -> Path:
    """The adapter's folder, and what lies beside it, as an auditor gets them."""
    place, name = uri.removeprefix("pvc://").rsplit("/", 1)
    command = kubectl.command("exec", "-n", NAMESPACE, claims.LOADER, "--", "tar", "-c", "-C", f"/claims/{place}", name, f"{name}.meta")
    archive = subprocess.run(command, capture_output=True, check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(archive)) as files:
        files.extractall(to, filter="data")
    return to / name


@pytest.mark.timeout(1800)
def test_a_signed_run_verifies_without_its_cluster_and_a_changed_byte_is_found(
    governed: Kubectl, key: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    submit(governed, job(governed))
    artifact = finished(governed)["artifact"]
    assert artifact["signed"] is True
    folder = copy_out(governed, artifact["uri"], tmp_path)
    chain = tmp_path / "chain.json"
    chain.write_text(governed.run("get", "configmaps", "-n", RECORDS, "-l", f"finetune.dev/record-namespace={NAMESPACE}", "-o", "json"))
    command = ["verify", str(folder), "--key", str(signed_site.write_public_key(key)), "--chain", str(chain), "--output", "json"]
    assert finetune(command) == 0, capsys.readouterr().out
    said = json.loads(capsys.readouterr().out)
    assert said["recordDigest"] == artifact["recordDigest"]
    record = said["record"]["predicate"]
    assert record["identity"]["namespace"] == NAMESPACE
    assert record["policy"]["policies"][0]["name"] == "signed"
    assert record["environment"]["node"]
    assert {each["name"] for each in record["outputs"]["documents"]} >= {"evaluation-items.jsonl", "record.json", "resolved.json"}
    assert "model.sig" in said["checked"]
    weights = folder / "adapter_model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    assert finetune(command) == 1
    assert any("adapter_model.safetensors" in problem["where"] for problem in json.loads(capsys.readouterr().out)["problems"])
