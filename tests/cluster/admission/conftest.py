"""One site for all tests of admission; its policies go with it, because other tests share the API server."""

from collections.abc import Iterator
from random import Random

import pytest

from finetune_testbed.bed import Testbed
from tests.cluster.admission import governed
from tests.cluster.admission.governed import Site
from tests.cluster.admission.population import Settled, settle
from tests.cluster.chart import Helm


@pytest.fixture(scope="package")
def before(t1: Testbed) -> Iterator[tuple[Site, list[Settled]]]:
    """The site while there are no policies, with what must be older than they are."""
    with governed.site(t1) as here:
        here.prepare()
        yield here, settle(here, Random(7))


@pytest.fixture(scope="package")
def site(before: tuple[Site, list[Settled]], t1: Testbed) -> Iterator[Site]:
    here, _ = before
    here.enforce(Helm(t1))
    yield here
    here.withdraw()


@pytest.fixture(scope="package")
def population(before: tuple[Site, list[Settled]]) -> list[Settled]:
    return before[1]


@pytest.fixture(scope="package")
def clinic(site: Site) -> str:
    """A governed namespace that is cleared for everything a case needs, unless it is the case's subject."""
    return site.namespace(governed.CLINIC)
