"""An adapter that changes nothing is told from one that does, and from an engine that is never quite the same."""

import math

from finetune_inference.contract.proof import Tolerances, distance, drift, effect_of, fingerprint, has_effect

BASE = {" a": -0.5, " b": -1.5, " c": -3.0}


def shifted(by: float) -> dict[str, float]:
    return {token: value + by for token, value in BASE.items()}


def test_the_same_answer_is_no_effect() -> None:
    effect, noise = effect_of(BASE, BASE, BASE)
    assert (effect, noise) == (0.0, 0.0)
    assert not has_effect(effect, noise, Tolerances())


def test_a_small_change_of_a_quiet_engine_is_one() -> None:
    effect, noise = effect_of(shifted(0.01), BASE, BASE)
    assert has_effect(effect, noise, Tolerances())


def test_a_change_within_the_engines_own_noise_is_none() -> None:
    effect, noise = effect_of(shifted(0.03), BASE, shifted(0.02))
    assert math.isclose(effect, 0.01)
    assert not has_effect(effect, noise, Tolerances())


def test_other_tokens_count_by_what_they_are_at_least_apart() -> None:
    assert distance({" a": -0.1, " b": -4.0}, {" x": -0.2, " y": -5.0}) == 4.9
    assert distance({" a": -0.1, " b": -3.0}, {" a": -0.1, " c": -3.0}) == 0.0


def test_a_fingerprint_holds_no_words_and_its_likeliest_token_first() -> None:
    found = fingerprint({" secret": -0.25, " b": -9.0})
    assert [entry.logprob for entry in found] == ["-0.2500", "-9.0000"]
    assert "secret" not in str(found)


def test_drift_is_what_lies_between_two_fingerprints() -> None:
    assert drift(fingerprint(BASE), fingerprint(BASE)) == 0.0
    assert math.isclose(drift(fingerprint(BASE), fingerprint(shifted(0.5))), 0.5)
