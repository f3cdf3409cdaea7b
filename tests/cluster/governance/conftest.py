"""One operator of the whole cluster for all tests of a module, and a governed namespace for each that wants its own."""

from collections.abc import Iterator

import pytest

from finetune_operator.api.crd import FINETUNEJOB, GOVERNANCE_KINDS
from finetune_testbed.apiserver import ApiServer
from finetune_testbed.bed import Testbed
from tests.cluster import crd, governed_site, operator_process
from tests.cluster.governed_site import Site
from tests.cluster.operator_process import OperatorProcess

PINNED = "registry.invalid/finetune-trainer@sha256:" + "1" * 64
ARGUMENTS = (
    *("--governance", "--governance-status-seconds", "0.5", "--trainer-image", PINNED),
    *("--governance-residency", "onprem", "--governance-residency", "eu-de"),
)


@pytest.fixture(scope="module")
def operator(t2: Testbed, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OperatorProcess]:
    with ApiServer(t2) as server:
        for kind in (FINETUNEJOB, *GOVERNANCE_KINDS):
            crd.install(server, kind)
    with operator_process.running(t2.kubeconfig, tmp_path_factory.mktemp("operator"), ARGUMENTS) as process:
        yield process


@pytest.fixture
def site(t2: Testbed) -> Iterator[Site]:
    with governed_site.site(t2) as made:
        yield made
