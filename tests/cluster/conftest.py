"""An operator process and a namespace for each test that needs them."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from finetune_testbed.bed import Testbed
from tests.cluster import finetunejobs, governed_site, operator_process
from tests.cluster.finetunejobs import Place
from tests.cluster.governed_site import Site
from tests.cluster.operator_process import OperatorProcess


@pytest.fixture
def here(t2: Testbed) -> Iterator[Place]:
    """A namespace of a control plane with fake nodes, with claims for models, data and adapters."""
    with finetunejobs.place(t2) as place:
        yield place


@pytest.fixture
def operator(here: Place, tmp_path: Path) -> Iterator[OperatorProcess]:
    """The operator, watching the test's namespace alone."""
    with operator_process.running(here.bed.kubeconfig, tmp_path, ("--namespace", here.namespace)) as process:
        yield process


@pytest.fixture
def site(t2: Testbed) -> Iterator[Site]:
    """A governed namespace of it, with policies of its own."""
    with governed_site.site(t2) as made:
        yield made
