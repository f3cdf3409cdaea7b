"""One site for all tests of admission; its policies go with it, because other tests share the API server."""

from collections.abc import Iterator

import pytest

from finetune_testbed.bed import Testbed
from tests.cluster.admission import governed
from tests.cluster.admission.governed import Site
from tests.cluster.chart import Helm


@pytest.fixture(scope="package")
def site(t1: Testbed) -> Iterator[Site]:
    with governed.site(t1) as here:
        here.prepare()
        here.enforce(Helm(t1))
        yield here
        here.withdraw()


@pytest.fixture(scope="package")
def clinic(site: Site) -> str:
    """A governed namespace that is cleared for everything a case needs, unless it is the case's subject."""
    return site.namespace(governed.CLINIC)
