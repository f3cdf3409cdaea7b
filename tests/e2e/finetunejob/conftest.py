"""A real cluster with the operator installed from its chart, and a tenant namespace whose claims hold a small base model and tickets."""

import json
from pathlib import Path

import pytest
from rich.console import Console

from demo import claims
from demo.environment import IMAGES, Environment
from demo.install import install
from demo.kubectl import Kubectl
from examples import tickets
from examples.models import tiny_base
from finetune_testbed import binaries, images
from finetune_testbed.bed import Testbed
from tests.e2e.finetunejob.tenant import NAMESPACE, Tenant


@pytest.fixture(scope="session")
def installed(t3: Testbed) -> Environment:
    """The images built from their Dockerfiles, and the chart installed with Helm."""
    built = {name: images.build(t3, name, print) for name in IMAGES}
    surroundings = Environment(
        kubeconfig=t3.kubeconfig,
        kubectl=str(binaries.path("kubectl")),
        helm=str(binaries.path("helm")),
        operator_image=built["operator"],
        trainer_image=built["trainer"],
        inference_image=built["inference"],
    )
    install(surroundings, print)
    return surroundings


@pytest.fixture(scope="session")
def kubectl(installed: Environment) -> Kubectl:
    return Kubectl(installed.kubectl, installed.kubeconfig, Console(quiet=True))


@pytest.fixture(scope="session")
def base_model() -> Path:
    """The small base model that the claim `models` holds."""
    return Path(tiny_base.ensure(print))


@pytest.fixture(scope="session")
def datasets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files that the claim `datasets` holds."""
    folder = tmp_path_factory.mktemp("datasets")
    write_datasets(folder)
    return folder


@pytest.fixture(scope="session")
def tenant(installed: Environment, kubectl: Kubectl, base_model: Path, datasets: Path) -> Tenant:
    """A namespace that enforces the restricted Pod Security level, with claims `models`, `datasets` and `adapters`."""
    example = Path("examples/ticket-routing")
    kubectl.run(
        "apply", "-f", str(example / "namespace.yaml"), "-f", str(example / "claims.yaml"), "-f", str(example / "output-schema.yaml")
    )
    enforced = kubectl.get("namespace", NAMESPACE)["metadata"]["labels"]["pod-security.kubernetes.io/enforce"]
    assert enforced == "restricted"
    claims.start_loader(kubectl, NAMESPACE, example / "loader.yaml", installed.trainer_image)
    claims.put(kubectl, NAMESPACE, base_model, "/claims/models/tiny-chat")
    claims.put(kubectl, NAMESPACE, base_model / "tokenizer.json", "/claims/models/no-config")
    claims.put(kubectl, NAMESPACE, datasets, "/claims/datasets")
    return Tenant(kubectl)


def write_datasets(folder: Path) -> None:
    """Good rows in three shapes, and one file per mistake that only reading can find."""
    rows = list(tickets.rows(240, seed=3))
    good = [json.dumps(row) for row in rows]
    (folder / "tickets.jsonl").write_text("\n".join(good) + "\n")
    (folder / "text.jsonl").write_text("".join(json.dumps({"text": row["messages"][1]["content"]}) + "\n" for row in rows))
    (folder / "torn.jsonl").write_text("\n".join(good) + "\n" + good[0][: len(good[0]) // 2])
    (folder / "empty.jsonl").write_text("")
    no_json = [{"messages": [*row["messages"][:-1], {"role": "assistant", "content": "billing, I think"}]} for row in rows]
    (folder / "off-schema.jsonl").write_text("".join(json.dumps(row) + "\n" for row in no_json))
