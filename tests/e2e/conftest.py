"""The order of the tests on a real node; a cluster with the chart installed, and a namespace whose claims hold a small base model."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from demo import claims
from demo.environment import IMAGES, Environment
from demo.install import NAMESPACE as OPERATOR_NAMESPACE
from demo.install import install
from demo.kubectl import Kubectl
from examples import tickets
from examples.models import tiny_base
from finetune_testbed import binaries, images
from finetune_testbed.bed import Testbed
from finetune_testbed.node.outward import Watch, watched
from tests.e2e.beside import Tracker, tracking
from tests.e2e.tenant import NAMESPACE, Tenant

LOOKS_AT_THE_HOST = "test_host_is_left_as_it_was.py"
LOOKS_BACK = "test_nothing_dials_out.py"
EXAMPLE = Path("examples/ticket-routing")
PIN_SECRET = "finetune-pin"
PIN = "known to routers and operator alone"
PACE = ("serving.rollout.lookSeconds=1", "serving.rollout.pollSeconds=1")
"""Whoever looks every second decides the same, sooner."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What compares the host before and after comes before the session's own node, which would have changed it already.

    What looks at all that pods have tried comes last.
    """
    items.sort(key=lambda item: item.path.name == LOOKS_BACK)
    looking = [item for item in items if item.path == Path(__file__).parent / LOOKS_AT_THE_HOST]
    others = [item for item in items if item not in looking]
    first = next((place for place, item in enumerate(others) if "t3" in getattr(item, "fixturenames", ())), len(others))
    items[:] = [*others[:first], *looking, *others[first:]]


@pytest.fixture(scope="session")
def outward(t3: Testbed) -> Iterator[Watch]:
    """What pods try to reach outside their cluster, from before the first one on."""
    with watched(t3) as watch:
        yield watch


@pytest.fixture(scope="session")
def installed(t3: Testbed, outward: Watch) -> Environment:
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
    install(surroundings, print, *PACE, f"serving.pinSecret={PIN_SECRET}")
    return surroundings


@pytest.fixture(scope="session")
def kubectl(installed: Environment) -> Kubectl:
    return Kubectl(installed.kubectl, installed.kubeconfig, Console(quiet=True))


@pytest.fixture(scope="session")
def tracker(t3: Testbed, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tracker]:
    """An MLflow server that pods reach."""
    with tracking(t3, tmp_path_factory.mktemp("tracked")) as made:
        yield made


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
    for manifest in ("namespace.yaml", "claims.yaml", "output-schema.yaml"):
        kubectl.run("apply", "-f", str(EXAMPLE / manifest))
    enforced = kubectl.get("namespace", NAMESPACE)["metadata"]["labels"]["pod-security.kubernetes.io/enforce"]
    assert enforced == "restricted"
    claims.start_loader(kubectl, NAMESPACE, EXAMPLE / "loader.yaml", installed.trainer_image)
    claims.put(kubectl, NAMESPACE, base_model, "/claims/models/tiny-chat")
    claims.put(kubectl, NAMESPACE, base_model / "tokenizer.json", "/claims/models/no-config")
    claims.put(kubectl, NAMESPACE, datasets, "/claims/datasets")
    claims.put(kubectl, NAMESPACE, EXAMPLE / "data", "/claims/datasets/tickets")
    for namespace in (NAMESPACE, OPERATOR_NAMESPACE):
        secret = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": PIN_SECRET, "namespace": namespace},
            "stringData": {"token": PIN},
        }
        kubectl.run("apply", "-f", "-", stdin=json.dumps(secret).encode())
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
