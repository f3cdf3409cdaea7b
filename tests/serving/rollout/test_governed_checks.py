"""A typed uri in a governed namespace: what the check finds out counts before any server is made for the version, or told of it."""

from dataclasses import replace
from typing import Any

import pytest

from finetune_operator.domain.governance.serving import ServingView
from finetune_operator.domain.rollout.observed import RolloutObserved
from finetune_operator.domain.rollout.target import is_refused
from tests.serving.rollout.checked_world import CheckedWorld
from tests.serving.rollout.governed_world import DECLARED, GOVERNED, adapter
from tests.serving.rollout.world import ONE, TWO, version


class GovernedChecks(CheckedWorld):
    """``known`` are adapters that jobs have made; of all others a check finds no record, so that they count as restricted.

    Servers are there from the beginning, as those that a former version has left.
    """

    def __init__(self, *known: str) -> None:
        super().__init__()
        self.pods = self.server_pods
        self.view = ServingView(namespace_labels=dict(GOVERNED), adapters={digest: adapter(digest) for digest in known})

    @property
    def resource(self) -> dict[str, Any]:
        found = super().resource
        return {**found, "metadata": {**found["metadata"], "labels": dict(DECLARED)}}

    def observe(self) -> RolloutObserved:
        return replace(super().observe(), governance=self.view)


@pytest.mark.parametrize("answering", [False, True], ids=["the first version", "an update"])
def test_a_version_that_its_own_record_keeps_out_is_never_asked_of_a_server(answering: bool) -> None:
    world = GovernedChecks(*([ONE] if answering else []))
    refused = TWO if answering else ONE
    if answering:
        world.run_until("Healthy")
        world.type(TWO)
    before = len(world.writes)
    world.run(60)
    assert world.condition("Governed")[0] == "False"
    assert "AdapterNotCleared" in world.condition("Governed")[2]
    assert next(known["digest"] for known in (world.status or {})["checked"]) == refused
    assert is_refused(world.observe()), "so that no server is made"
    told = [written for written in world.writes[before:] if version(refused) in str(written.get("desired"))]
    assert not told
    assert world.stable == (version(ONE) if answering else "")
    written = len(world.writes)
    world.run(60)
    assert len(world.writes) == written, "it is not begun again"
