"""Who gets the canary: as many as its weight says, the same ones from everybody, and nobody back as the weight rises."""

import os
from pathlib import Path
from typing import Any

import pytest

from finetune_testbed.bed import Testbed
from tests.cluster.operator_process import until
from tests.cluster.serving.chain import PATIENCE, Chain, chain
from tests.cluster.serving.evidence import is_within
from tests.cluster.serving_site import NAME
from tests.engines.load import Record

CALLERS, RATE = (2000, 200.0) if os.environ.get("FINETUNE_FULL_SIZE") else (300, 200.0)
WEIGHTS = (5, 25, 50, 75, 95)
TRIES = 3
"""One honest split in a hundred lies beyond the bound; three in a row do in one of a million."""


def step(weight: int) -> dict[str, Any]:
    """It ends when the test says so."""
    return {"weight": weight, "bakeSeconds": 86_400, "analysis": []}


@pytest.mark.timeout(900)
def test_the_split_is_binomial_at_every_weight_and_the_same_from_every_router(t1: Testbed, tmp_path: Path) -> None:
    spec = {"strategy": {"canary": {"steps": [step(weight) for weight in WEIGHTS]}}}
    with chain(t1, tmp_path, spec) as here:
        first, second = here.site.publish(1), here.site.publish(2)
        canary = second.name(NAME)
        here.promote(first)
        here.apply(second)
        moved: set[str] = set()
        for number, weight in enumerate(WEIGHTS, 1):
            wait_baking(here, number)
            with_canary = {caller for caller, version in asked(here, "caller").items() if version == canary}
            assert moved <= with_canary, f"{moved - with_canary} came back at {weight} %"
            moved = with_canary
            counts = [len(with_canary)]
            while not is_within(counts[-1], CALLERS, weight / 100):
                assert len(counts) < TRIES, f"{counts} of {CALLERS} callers each got the canary at {weight} %"
                others = asked(here, f"try-{len(counts)}")
                counts.append(sum(version == canary for version in others.values()))
            print(f"{weight} %: {', '.join(map(str, counts))} of {CALLERS} callers")
            here.order("promote")
        here.wait(lambda status: not status.get("rollout"), "promoted")
        assert set(asked(here, "caller").values()) == {canary}


def wait_baking(here: Chain, number: int) -> None:
    """From here on every worker of every router has this step's weight."""

    def baking(status: dict[str, Any]) -> bool:
        rollout = status.get("rollout") or {}
        return (rollout.get("stage"), rollout.get("step")) == ("Baking", number)

    here.wait(baking, f"step {number} baking")


def asked(here: Chain, name: str) -> dict[str, str]:
    """What each caller gets, having asked every router, each time whichever worker the kernel chose."""
    document = {"max_tokens": 2}
    with here.site.traffic(RATE, callers=CALLERS, named=name, reads=True, keeps=False, document=document) as load:
        until(lambda: len(load.records) >= 2 * CALLERS, PATIENCE)
    answers: dict[str, str] = {}
    routers: dict[str, set[int]] = {}
    for record in load.records:
        assert is_answer(record), record
        routers.setdefault(record.caller, set()).add(record.router)
        assert answers.setdefault(record.caller, record.version) == record.version, record
    assert {frozenset(seen) for seen in routers.values()} == {frozenset({0, 1})}
    assert len(answers) == CALLERS
    return answers


def is_answer(record: Record) -> bool:
    """The first word of the fake engine is the model that answers."""
    return not record.failure and record.text.split(" ")[0] == record.version
