"""Operating characteristics, by simulation: how often a good canary is rolled back, and how soon a bad one."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from finetune_operator.domain.analysis.criteria import CheckName, Evidence, LowTraffic, answer_window, error_window
from finetune_operator.domain.analysis.eprocess import Window
from finetune_operator.domain.analysis.verdict import Bake, Promote, Rollback, Verdict, judge
from tests.serving.canary.simulation import CHECKS, Course, Rollouts, Truth, simulate, upper_bound

NOON = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)
ROLLOUTS = 20_000


@pytest.fixture(scope="module")
def harmless() -> int:
    """False rollbacks of canaries that are no different; every check is on and looked at every ten seconds."""
    return int(simulate(Course(), Truth(), ROLLOUTS).rolled_back.sum())


def test_at_most_one_harmless_canary_in_twenty_is_rolled_back(harmless: int):
    assert upper_bound(harmless, ROLLOUTS) <= 0.05


def test_the_simulation_does_roll_back_now_and_then(harmless: int):
    assert harmless > ROLLOUTS / 1_000, "a simulation in which nothing ever happens proves nothing"


def test_busy_callers_on_one_arm_do_not_pass_for_failures():
    outcome = simulate(Course(), Truth(uneven=0.7), 2_000)
    assert upper_bound(int(outcome.rolled_back.sum()), 2_000) <= 0.05


def test_failures_in_bundles_break_the_promise_so_the_documentation_says_so():
    outcome = simulate(Course(), Truth(bundle=5), 1_000)
    assert outcome.rolled_back.mean() > 0.1


class Judged:
    """Rollouts judged by the decision code itself, row by row, beside the arithmetic on arrays."""

    def __init__(self, course: Course, truth: Truth, rollouts: int, seed: int) -> None:
        self.rollouts = Rollouts(course, truth, rollouts, seed)
        self.course = course
        self.errors: list[tuple[Window, ...]] = [()] * rollouts
        self.answers: list[tuple[Window, ...]] = [()] * rollouts

    def judge(self, row: int) -> Verdict:
        canary, stable = self.rollouts.canary.counts(row), self.rollouts.stable.counts(row)
        bake = Bake(NOON, self.course.bake_seconds, self.course.max_wait_seconds, LowTraffic.PAUSE)
        seen = Evidence(canary, stable, self.errors[row], self.answers[row])
        return judge(seen, self.course.criteria, bake, NOON + timedelta(seconds=int(self.rollouts.elapsed[row])))

    def move(self) -> None:
        """Ends steps as the simulation does, and remembers the windows of those that ended."""
        fleet = self.rollouts
        before = fleet.step.copy()
        arms = [(fleet.canary.counts(row), fleet.stable.counts(row)) for row in range(len(before))]
        fleet.move()
        for row in np.flatnonzero(fleet.step > before):
            self.errors[row] = (*self.errors[row], error_window(*arms[row]))
            self.answers[row] = (*self.answers[row], answer_window(*arms[row]))


TRUTHS = {
    "harmless": Truth(),
    "failing": Truth(error_ratio=3),
    "wrong answers": Truth(invalid_ratio=3),
    "slow": Truth(latency_ratio=1.8),
}


@pytest.mark.parametrize("truth", TRUTHS.values(), ids=TRUTHS)
def test_arrays_and_the_decision_code_say_the_same_at_every_look(truth: Truth):
    judged = Judged(Course(requests_per_second=20, bake_seconds=120, max_wait_seconds=240), truth, 25, seed=3)
    fleet = judged.rollouts
    seen: set[type[Verdict]] = set()
    while fleet.going_on.any():
        fleet.arrive()
        verdicts = {int(row): judged.judge(int(row)) for row in np.flatnonzero(fleet.going_on)}
        fleet.look()
        for row, verdict in verdicts.items():
            check = CHECKS[fleet.outcome.check[row]] if fleet.outcome.check[row] >= 0 else None
            assert check is (verdict.check if isinstance(verdict, Rollback) else None), verdict.message
            baked = fleet.elapsed[row] >= judged.course.bake_seconds
            assert bool(fleet.passing[row] and baked and check is None) is isinstance(verdict, Promote), verdict.message
        seen.update(type(verdict) for verdict in verdicts.values())
        judged.move()
    assert len(seen) >= 2


@pytest.mark.parametrize(("truth", "check"), [(Truth(error_ratio=4), CheckName.ERRORS), (Truth(invalid_ratio=4), CheckName.SCHEMA)])
def test_four_times_the_failures_are_found_as_soon_as_the_simulation_expects(truth: Truth, check: CheckName):
    course = Course()
    expected = simulate(course, truth, 2_000, seed=1)
    assert expected.rolled_back.all()
    needed = []
    judged = Judged(course, truth, 60, seed=99)
    fleet = judged.rollouts
    while fleet.going_on.any() and fleet.outcome.seconds.max() < course.bake_seconds:
        fleet.arrive()
        for row in np.flatnonzero(fleet.going_on):
            verdict = judged.judge(int(row))
            if isinstance(verdict, Rollback):
                needed.append((int(fleet.outcome.canary_requests[row]), verdict.check))
                fleet.outcome.check[row] = CHECKS.index(verdict.check)
    assert len(needed) >= 50, "nearly all of them within the first step"
    measured, simulated = float(np.median([requests for requests, _ in needed])), float(np.median(expected.canary_requests))
    print(f"{check.value}: {measured:.0f} canary requests in the median, {simulated:.0f} simulated")
    assert simulated / 1.5 <= measured <= simulated * 1.5
    assert sum(found is check for _, found in needed) >= 0.9 * len(needed)
