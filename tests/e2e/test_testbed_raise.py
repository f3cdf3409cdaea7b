"""Fake nodes make way for a real one."""

from collections.abc import Iterator

import pytest

from finetune_testbed import lifecycle, processes, testing
from finetune_testbed.apiserver import ApiServer
from finetune_testbed.bed import Tier

pytestmark = pytest.mark.t3


@pytest.fixture
def name(t3_host: None) -> Iterator[str]:
    chosen = testing.own_name("raise")
    yield chosen
    lifecycle.down(chosen, print)


def test_a_testbed_with_fake_nodes_gets_a_real_one_in_their_place(name: str) -> None:
    low = lifecycle.up(name, Tier.T2, print, {"fake_nodes": 2, "fsync": False})
    with ApiServer(low) as server:
        server.request("POST", "/api/v1/namespaces", {"metadata": {"name": "kept"}})
    high = lifecycle.up(name, Tier.T3, print)
    assert lifecycle.problems(high) == []
    assert "kwok" not in processes.recorded(high)
    with ApiServer(high) as server:
        nodes = [node["metadata"]["name"] for node in server.request("GET", "/api/v1/nodes")["items"]]
        server.request("GET", "/api/v1/namespaces/kept")
    assert nodes == [high.node_name]
