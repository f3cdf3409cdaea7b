"""Who joins the batch: never more memory than allowed, and always somebody."""

from hypothesis import given
from hypothesis import strategies as st

from finetune_inference.server.batching import BLOCK, Limits, blocks, prefill_group

LIMITS = Limits(sequences=4, model_length=512, total_tokens=1024, prefill_tokens=256)
lengths = st.lists(st.integers(1, 512), max_size=6)


@given(lengths)
def test_the_rectangle_of_all_admitted_never_exceeds_the_bound(asked: list[int]) -> None:
    admitted: list[int] = []
    for length in asked:
        if LIMITS.admits(admitted, length):
            admitted.append(length)
    assert len(admitted) <= LIMITS.sequences
    assert len(admitted) * blocks(max(admitted, default=0)) <= LIMITS.total_tokens


@given(st.integers(1, 512))
def test_an_empty_batch_takes_anybody(length: int) -> None:
    assert LIMITS.admits([], length)


def test_a_long_newcomer_waits_where_a_short_one_joins() -> None:
    assert LIMITS.admits([100, 100, 100], 256)
    assert not LIMITS.admits([100, 100, 100], 257)
    assert not LIMITS.admits([1, 1, 1, 1], 1)


@given(st.lists(st.integers(1, 400), max_size=8), st.integers(1, 800))
def test_a_prefill_is_as_many_prompts_as_fit_when_padded(prompts: list[int], budget: int) -> None:
    taken = prefill_group(prompts, budget)
    assert max(prompts[:taken], default=0) * taken <= budget
    if taken < len(prompts):
        assert max(prompts[: taken + 1]) * (taken + 1) > budget


def test_lengths_are_rounded_up_to_whole_blocks() -> None:
    assert [blocks(tokens) for tokens in (0, 1, BLOCK, BLOCK + 1)] == [0, BLOCK, BLOCK, 2 * BLOCK]
