"""Probes of egress try what nobody else may try."""

from collections.abc import Iterator

import pytest

from finetune_testbed.node.outward import Watch


@pytest.fixture(scope="module", autouse=True)
def probing(outward: Watch) -> Iterator[None]:
    with outward.looking_away():
        yield
