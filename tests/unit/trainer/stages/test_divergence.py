"""When a run counts as diverged, told step by step."""

import math

import pytest

from finetune_trainer.stages.divergence import PATIENCE, Diverged, Divergence, observe

VOCABULARY = 1000
UNIFORM = math.log(VOCABULARY)


def told(losses: list[float], norms: list[float] | None = None) -> Divergence | Diverged:
    state: Divergence | Diverged = Divergence()
    for step, loss in enumerate(losses, 1):
        assert isinstance(state, Divergence)
        state = observe(state, step, loss, norms[step - 1] if norms else 1.0, VOCABULARY)
        if isinstance(state, Diverged):
            break
    return state


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_a_loss_that_is_no_number_is_told_at_once(loss: float) -> None:
    assert told([2.0, loss]) == Diverged(2, f"the loss is {loss}")


def test_a_zero_gradient_for_some_steps_is_told_with_the_step_it_began() -> None:
    verdict = told([3.0] * (PATIENCE + 1), [1.0] + [0.0] * PATIENCE)
    assert isinstance(verdict, Diverged)
    assert verdict.step == 2


def test_a_zero_gradient_of_a_model_that_knows_everything_is_no_divergence() -> None:
    assert isinstance(told([1e-4] * 20, [0.0] * 20), Divergence)


def test_a_loss_back_at_blind_guessing_is_told_with_the_step_it_began() -> None:
    verdict = told([2.0, 1.5] + [UNIFORM] * PATIENCE)
    assert isinstance(verdict, Diverged)
    assert verdict.step == 3


def test_a_single_bad_batch_is_forgiven() -> None:
    assert isinstance(told([2.0, UNIFORM, 1.9] * 10), Divergence)


def test_a_model_that_has_not_learned_yet_is_not_diverged() -> None:
    assert isinstance(told([UNIFORM, 0.99 * UNIFORM] * 10), Divergence)


def test_worse_than_blind_guessing_is_told_even_if_nothing_was_learned() -> None:
    verdict = told([UNIFORM] + [2 * UNIFORM] * PATIENCE)
    assert isinstance(verdict, Diverged)
    assert verdict.step == 2


def test_a_base_that_starts_worse_than_guessing_may_learn() -> None:
    start = 3 * UNIFORM
    assert isinstance(told([start - step * 0.2 for step in range(60)]), Divergence)
