"""The next token: the likeliest, or drawn so that a seed gives the same whoever else is in the batch."""

import random
from collections import Counter

import pytest
import torch

from finetune_inference.server.choosing import choose
from finetune_inference.server.sampling import Sampling

GREEDY = Sampling(temperature=0)


def logits(*rows: list[float]) -> torch.Tensor:
    return torch.tensor(rows)


def drawn(sampling: Sampling, row: list[float], times: int) -> Counter[int]:
    source = random.Random(1)
    batch = logits(*[row] * 8)
    return Counter(choice.token for _ in range(times // 8) for choice in choose(batch, [(sampling, source)] * 8))


def test_greedy_takes_the_likeliest_of_each_row() -> None:
    choices = choose(logits([0.0, 2.0, 1.0], [3.0, 2.0, 1.0]), [(GREEDY, random.Random())] * 2)
    assert [choice.token for choice in choices] == [1, 0]


def test_a_seed_gives_the_same_tokens_whoever_else_is_in_the_batch() -> None:
    seeded = Sampling(temperature=1.0, top_p=0.9, seed=7)
    rows = torch.randn(20, 6, 50, generator=torch.Generator().manual_seed(0))
    alone, source = [], seeded.source()
    for row in rows:
        alone += [choose(row[3:4], [(seeded, source)])[0].token]
    together, source, other = [], seeded.source(), Sampling(temperature=0.5).source()
    for row in rows:
        asked = [(Sampling(temperature=0.5), other)] * 3 + [(seeded, source)] + [(GREEDY, other)] * 2
        together += [choose(row, asked)[3].token]
    assert alone == together
    assert len(set(alone)) > 5


def test_tokens_are_drawn_as_often_as_they_are_likely() -> None:
    counts = drawn(Sampling(temperature=1.0), torch.tensor([0.5, 0.3, 0.2]).log().tolist(), 4000)
    assert [counts[token] / 4000 for token in range(3)] == pytest.approx([0.5, 0.3, 0.2], abs=0.04)


def test_heat_flattens_and_cold_sharpens() -> None:
    row = [2.0, 0.0]
    assert drawn(Sampling(temperature=0.25), row, 800)[0] > drawn(Sampling(temperature=2.0), row, 800)[0]


def test_top_p_keeps_the_smallest_set_that_holds_the_share() -> None:
    row = torch.tensor([0.5, 0.3, 0.15, 0.05]).log().tolist()
    assert set(drawn(Sampling(top_p=0.79), row, 800)) == {0, 1}
    assert set(drawn(Sampling(top_p=0.81), row, 800)) == {0, 1, 2}
    assert set(drawn(Sampling(top_p=0.01), row, 80)) == {0}


def test_top_p_over_a_flat_distribution_looks_beyond_the_first_few() -> None:
    assert max(drawn(Sampling(top_p=0.99), [0.0] * 3000, 400)) > 600


def test_top_k_keeps_k_tokens() -> None:
    assert set(drawn(Sampling(top_k=2), [1.0, 1.1, 0.9, 0.8], 800)) == {0, 1}


def test_a_row_without_numbers_is_told_and_its_neighbours_are_not_touched() -> None:
    nan = float("nan")
    asked = [(Sampling(logprobs=1), random.Random(1)), (GREEDY, random.Random()), (Sampling(), random.Random(2))]
    broken, sound, infinite = choose(logits([nan, nan], [1.0, 0.0], [float("inf"), 0.0]), asked)
    assert (broken.finite, sound.finite, infinite.finite) == (False, True, False)
    assert sound.token == 0


def test_likelihoods_are_logarithms_of_the_whole_distribution() -> None:
    row = torch.tensor([0.5, 0.3, 0.2]).log().tolist()
    told = choose(logits(row, row), [(Sampling(temperature=0, logprobs=2), random.Random()), (GREEDY, random.Random())])
    assert told[1].likelihoods is None
    likelihoods = told[0].likelihoods
    assert likelihoods is not None
    assert likelihoods.chosen == pytest.approx(torch.tensor(0.5).log().item())
    assert [token for token, _ in likelihoods.top] == [0, 1]
