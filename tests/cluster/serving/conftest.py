"""A namespace for each test, and routers and agents that work from it."""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from finetune_testbed.bed import Testbed
from finetune_testbed.proxy import Proxy
from tests.cluster.serving import place
from tests.cluster.serving.place import Place
from tests.engines import processes
from tests.engines.processes import EngineProcess, RouterProcess
from tests.process.server.conftest import forge  # noqa: F401 - fixtures
from tests.unit.trainer.conftest import tiny_base  # noqa: F401 - fixtures


@pytest.fixture
def here(t1: Testbed, tmp_path: Path) -> Iterator[Place]:
    with place.place(t1, tmp_path) as made:
        yield made


@pytest.fixture
def through(here: Place) -> Iterator[Proxy]:
    """A proxy before the API server, for whatever is started after it."""
    with Proxy(here.bed) as proxy:
        here.url = proxy.url
        yield proxy


@pytest.fixture(scope="session")
def engine() -> Iterator[EngineProcess]:
    with processes.engine() as one:
        yield one


def router_of(here: Place, *, ready: bool = True) -> AbstractContextManager[RouterProcess]:
    """A router of that namespace."""
    source = ("--watch-namespace", here.namespace, *here.access)
    return processes.router(here.folder / "router", workers=1, ready=ready, source=source)
