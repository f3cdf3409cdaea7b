"""One operator of the whole cluster for all tests of a module, and a governed namespace for each that wants its own."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from finetune_operator.api.crd import FINETUNEJOB, GOVERNANCE_KINDS
from finetune_testbed.apiserver import MERGE, ApiServer
from finetune_testbed.bed import Testbed
from finetune_trainer.contract.governance.vocabulary import LABEL_ZONE
from tests.cluster import crd, operator_process
from tests.cluster.operator_process import OperatorProcess

PINNED = "registry.invalid/finetune-trainer@sha256:" + "1" * 64
ARGUMENTS = (
    *("--governance", "--governance-status-seconds", "0.5", "--trainer-image", PINNED),
    *("--governance-residency", "onprem", "--governance-residency", "onprem-a", "--governance-residency", "eu-de"),
)


@pytest.fixture(scope="module")
def operator(t2: Testbed, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OperatorProcess]:
    with ApiServer(t2) as server:
        for kind in (FINETUNEJOB, *GOVERNANCE_KINDS):
            crd.install(server, kind)
    with operator_process.running(t2.kubeconfig, tmp_path_factory.mktemp("operator"), ARGUMENTS) as process:
        yield process


@contextmanager
def standing(bed: Testbed, place: str) -> Iterator[None]:
    """A node that stands there, as its cluster's admins say; a label that no other test looks at."""
    with ApiServer(bed) as server:
        path = f"/api/v1/nodes/{server.request('GET', '/api/v1/nodes')['items'][0]['metadata']['name']}"
        server.request("PATCH", path, {"metadata": {"labels": {LABEL_ZONE: place}}}, MERGE)
        try:
            yield
        finally:
            server.request("PATCH", path, {"metadata": {"labels": {LABEL_ZONE: None}}}, MERGE)


@pytest.fixture(scope="module")
def onprem(t2: Testbed) -> Iterator[None]:
    with standing(t2, "onprem"):
        yield
