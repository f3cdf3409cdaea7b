"""Rows of keys and values come and go in any order, and each sequence always finds exactly its own."""

import random

import torch

from finetune_inference.server.kvcache import SlotCache

HEADS, WIDTH, LAYERS, MOST = 2, 4, 2, 6


def states(tokens: int, rows: int = 1) -> torch.Tensor:
    return torch.randn(rows, HEADS, tokens, WIDTH)


class Kept:
    """What a sequence should find."""

    def __init__(self, given: torch.Tensor) -> None:
        self.keys = given
        self.extent = given.shape[2]


def test_a_random_life_of_many_sequences_leaves_each_its_own() -> None:
    torch.manual_seed(0)
    rng = random.Random(0)
    cache, live = SlotCache(LAYERS), list[Kept]()
    for _ in range(300):
        if live and (len(live) == MOST or rng.random() < 0.25):
            row = rng.randrange(len(live))
            last = live.pop()
            gone = live[row] if row < len(live) else last
            cache.release(row, gone.extent, len(live), last.extent)
            if row < len(live):
                live[row] = last
        elif rng.random() < 0.3:
            join(cache, live, [rng.randint(1, 70) for _ in range(rng.randint(1, MOST - len(live)))])
        if live:
            step(cache, live)


def join(cache: SlotCache, live: list[Kept], lengths: list[int]) -> None:
    longest = max(lengths)
    cache.ensure(len(live) + len(lengths), longest, MOST, 512)
    cache.prefill(len(live), len(lengths), 0)
    given = states(longest, len(lengths))
    for layer in range(LAYERS):
        keys, values = cache.update(given + layer, given - layer, layer)
        assert torch.equal(keys, given + layer)
        assert torch.equal(values, given - layer)
    for row, length in enumerate(lengths):
        kept = Kept(given[row : row + 1, :, :length])
        kept.extent = longest
        live.append(kept)


def step(cache: SlotCache, live: list[Kept]) -> None:
    at = [kept.keys.shape[2] for kept in live]
    length = max(at) + 1
    cache.ensure(len(live), length, MOST, 512)
    cache.decode(torch.tensor(at), torch.arange(len(live)), length)
    new = states(1, len(live))
    for layer in range(LAYERS):
        keys, values = cache.update(new + layer, new - layer, layer)
        assert keys.shape == (len(live), HEADS, length, WIDTH)
        for row, kept in enumerate(live):
            own = torch.cat([kept.keys, new[row : row + 1]], dim=2)
            assert torch.equal(keys[row : row + 1, :, : own.shape[2]], own + layer)
            assert torch.equal(values[row : row + 1, :, : own.shape[2]], own - layer)
    for row, kept in enumerate(live):
        kept.keys = torch.cat([kept.keys, new[row : row + 1]], dim=2)
        kept.extent = max(kept.extent, kept.keys.shape[2])


def test_what_a_broken_sequence_left_is_wiped_for_the_next_one() -> None:
    cache = SlotCache(1)
    cache.ensure(2, 8, 2, 8)
    cache.prefill(0, 2, 0)
    poison = torch.full((2, HEADS, 8, WIDTH), float("nan"))
    cache.update(poison, poison, 0)
    cache.release(0, 8, 1, 8)
    cache.release(0, 8, 0, 8)
    cache.decode(torch.tensor([0]), torch.arange(1), 8)
    keys, _ = cache.update(states(1), states(1), 0)
    assert bool(torch.isfinite(keys).all())


def test_a_prompt_in_pieces_sees_what_was_computed_before() -> None:
    cache = SlotCache(1)
    whole = states(10)
    cache.ensure(1, 10, 1, 64)
    for start, end in ((0, 4), (4, 8), (8, 10)):
        cache.prefill(0, 1, start)
        keys, _ = cache.update(whole[:, :, start:end], whole[:, :, start:end], 0)
        assert torch.equal(keys, whole[:, :, :end])


def test_room_grows_by_half_and_never_beyond_the_most() -> None:
    cache = SlotCache(1)
    sizes = []
    for tokens in (1, 65, 129, 400, 512):
        cache.ensure(1, tokens, 2, 512)
        cache.prefill(0, 1, 0)
        cache.update(states(1), states(1), 0)
        sizes.append(cache.bytes // (2 * HEADS * WIDTH * 4))
    assert sizes == [64, 128, 192, 448, 512]
