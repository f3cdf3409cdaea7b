"""How soon the whole decision takes a bad canary back: counters of two routers, baselines and evidence in status, traffic by chance."""

import copy
from datetime import timedelta
from typing import Any

import numpy as np
import pytest

from finetune_inference.contract import Track
from finetune_operator.domain.analysis.criteria import CheckName
from tests.serving.canary.simulation import Course, Truth, simulate
from tests.serving.rollout.world import ONE, TWO, Behaviour, RouterProcess, World, spec, version

COURSE = Course()
ROLLOUTS = 40
LIMITS = {"maxRate": "0.05", "maxDeltaVsStable": "0.02"}
CHECKS: dict[str, Any] = {
    "errors": LIMITS,
    "schema": {"configMapRef": {"name": "tickets"}, **LIMITS},
    "ttft": {"maxSeconds": "2", "maxRatioVsStable": "1.3"},
    "itl": {"maxSeconds": "2", "maxRatioVsStable": "1.25"},
}
"""Those of `simulation.ALL_CHECKS`."""


class ByChance(World):
    """Requests come as a Poisson stream, and each fails or does not fit its schema by chance."""

    generator: np.random.Generator

    def _count(self, process: RouterProcess, name: str, track: Track, requests: float) -> None:
        truth = self.truth[name]
        came = int(self.generator.poisson(requests))
        failed = int(self.generator.binomial(came, truth.errors))
        invalid = int(self.generator.binomial(came - failed, truth.invalid))
        tally = process.counters[name, track]
        tally.ok += came - failed
        tally.errors += failed
        tally.invalid += invalid
        tally.valid += came - failed - invalid
        tally.latencies[truth.seconds] = tally.latencies.get(truth.seconds, 0.0) + came - failed

    def look_until_rolling_back(self) -> None:
        """One decision every ten seconds, as `tick`, without asking again whether all is at rest."""
        for _ in range(1_000):
            self.agents()
            self.apply()
            self.traffic(10.0)
            self.now += timedelta(seconds=10)
            self.reconcile()
            if self.phase == "RollingBack":
                return
        raise AssertionError(self.rollout)

    def asked(self, name: str) -> int:
        """Live requests for the version so far, at all routers."""
        tallies = [process.counters[name, Track.LIVE] for process in self.routers.values()]
        return int(sum(tally.ok + tally.errors for tally in tallies))


@pytest.fixture(scope="module")
def serving() -> ByChance:
    """The first version answers; the next one goes the way of the simulation's course."""
    steps = [{"weight": weight, "bakeSeconds": COURSE.bake_seconds} for weight in COURSE.weights]
    analysis = {"minRequests": 200, "maxWaitSeconds": COURSE.max_wait_seconds, "checks": CHECKS}
    world = ByChance(spec(strategy={"canary": {"steps": steps}}, analysis=analysis), pods=1)
    world.generator = np.random.default_rng(11)
    world.rate = COURSE.requests_per_second
    world.truth = {version(ONE): Behaviour(errors=0.02, invalid=0.02)}
    world.run_until("Healthy")
    return world


def test_four_times_the_failures_are_taken_back_as_soon_as_the_simulation_expects(serving: ByChance):
    needed, found = [], []
    for seed in range(ROLLOUTS):
        world = copy.deepcopy(serving)
        world.generator = np.random.default_rng(seed)
        world.truth[version(TWO)] = Behaviour(errors=0.08, invalid=0.02)
        world.publish(TWO)
        world.look_until_rolling_back()
        needed.append(world.asked(version(TWO)))
        found.append(world.rollout["message"].startswith(CheckName.ERRORS.value))
    measured = float(np.median(needed))
    expected = float(np.median(simulate(COURSE, Truth(error_ratio=4), 2_000, seed=1).canary_requests))
    print(f"taken back after {measured:.0f} canary requests in the median, {expected:.0f} simulated")
    assert expected / 1.5 <= measured <= expected * 1.5
    assert sum(found) >= 0.8 * ROLLOUTS, "by the check that is about it"
