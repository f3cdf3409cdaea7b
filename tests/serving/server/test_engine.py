"""The engine by itself, with a model of a few hundred numbers: who comes, goes, is cancelled or fails never touches anybody else."""

import random
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, models
from transformers import LlamaConfig, LlamaForCausalLM

from finetune_inference.server.batching import Limits
from finetune_inference.server.engine import Engine
from finetune_inference.server.metrics import Metrics
from finetune_inference.server.rows import AdaptedModel, LowRank
from finetune_inference.server.sampling import Sampling
from finetune_inference.server.sequence import Finish, Piece, Sequence
from finetune_inference.server.text import Transcript

VOCABULARY, LENGTH, WIDTH = 64, 256, 16
GUARD = 60


class Bench:
    """An engine, and the last word on every sequence."""

    def __init__(self, limits: Limits) -> None:
        torch.set_num_threads(1)
        torch.manual_seed(0)
        shape = {"hidden_size": WIDTH, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1}
        self.model = LlamaForCausalLM(
            LlamaConfig(vocab_size=VOCABULARY, max_position_embeddings=LENGTH, initializer_range=0.5, **shape)
        ).eval()
        self.adapted = AdaptedModel(self.model)
        self.words = Tokenizer(models.WordLevel({f"w{number}": number for number in range(VOCABULARY)}, unk_token="w0"))
        self.pieces: dict[Sequence, list[Piece]] = {}
        self.ended = threading.Condition()
        self.may_go_on = threading.Event()
        """While it is not set, the engine stands still at the next end of a sequence."""
        self.may_go_on.set()
        self.engine = Engine(self.adapted, 2, limits, Metrics("base", 4), self.flush)
        self.engine.start()

    def flush(self, pieces: list[tuple[Sequence, Piece]]) -> None:
        self.may_go_on.wait(GUARD)
        with self.ended:
            for sequence, piece in pieces:
                self.pieces.setdefault(sequence, []).append(piece)
            self.ended.notify_all()

    def sequence(self, prompt: list[int], tokens: int, adapter: str | None = None, **fields: Any) -> Sequence:
        transcript = Transcript(self.words, prompt, ())
        return Sequence(
            prompt,
            tokens,
            Sampling(temperature=0, logprobs=0),
            frozenset(),
            transcript,
            time.monotonic(),
            lambda _: None,
            adapter=adapter,
            **fields,
        )

    def submit(self, *arguments: Any, **fields: Any) -> Sequence:
        made = self.sequence(*arguments, **fields)
        self.engine.submit(made)
        return made

    def last(self, sequence: Sequence) -> Piece:
        """The last piece, once it is there."""
        with self.ended:
            assert self.ended.wait_for(lambda: sequence in self.pieces and self.pieces[sequence][-1].finish is not None, GUARD)
            return self.pieces[sequence][-1]

    def tokens(self, sequence: Sequence) -> list[int]:
        self.last(sequence)
        return [fact.token for piece in self.pieces[sequence] for fact in piece.facts]

    def alone(self, prompt: list[int], tokens: int, adapter: str | None = None) -> list[int]:
        return self.tokens(self.submit(prompt, tokens, adapter))


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench(Limits(sequences=4, model_length=LENGTH, total_tokens=3 * LENGTH, prefill_tokens=48))
    generator = torch.Generator().manual_seed(1)
    for name in ("a", "b"):
        low = LowRank(torch.randn(2, WIDTH, generator=generator), torch.randn(WIDTH, 2, generator=generator))
        made.engine.install(name, {f"model.layers.{layer}.self_attn.q_proj": low for layer in range(2)}).result(GUARD)
    yield made
    made.engine.stop()


def test_whoever_else_comes_goes_or_is_cancelled_every_answer_is_that_of_a_run_alone(bench: Bench) -> None:
    rng = random.Random(3)
    asked = [
        ([rng.randrange(VOCABULARY) for _ in range(rng.choice([1, 5, 30, 130]))], rng.randint(1, 40), rng.choice([None, "a", "b"]))
        for _ in range(40)
    ]
    expected = [bench.alone(*arguments) for arguments in asked]
    together = []
    for number, arguments in enumerate(asked):
        together.append(bench.submit(*arguments, streams=number % 2 == 0))
        other = bench.submit([7] * rng.choice([3, 120]), 200, rng.choice([None, "a"]))
        bench.engine.cancel(other)
        if number % 3 == 0:
            bench.last(other)
    assert [bench.tokens(sequence) for sequence in together] == expected
    assert {bench.last(sequence).finish for sequence in together} == {Finish.LENGTH}
    assert bench.engine.load.running == bench.engine.load.waiting == ()


def test_what_is_cancelled_ends_wherever_it_is(bench: Bench) -> None:
    bench.may_go_on.clear()
    running = [bench.submit([1, 2], 250) for _ in range(3)]
    computed_in_pieces = bench.submit([3] * 200, 50)
    waiting = bench.submit([1], 5)
    for sequence in (computed_in_pieces, waiting, *running):
        bench.engine.cancel(sequence)
    bench.may_go_on.set()
    ends = {bench.last(sequence).finish for sequence in (computed_in_pieces, *running)}
    assert ends <= {Finish.ABORT, Finish.LENGTH}
    assert Finish.ABORT in ends
    assert bench.alone([1, 2], 3) == bench.alone([1, 2], 3)


def test_an_adapter_goes_when_its_last_sequence_has_ended(bench: Bench) -> None:
    slow = bench.submit([1, 2, 3], 200, "a")
    queued = bench.submit([1, 2], 100, "a")
    gone = bench.engine.remove("a")
    gone.result(GUARD)
    assert (bench.last(slow).finish, bench.last(queued).finish) == (Finish.LENGTH, Finish.LENGTH)
    bench.engine.remove("b").result(GUARD)
    assert type(bench.model.model.layers[0].self_attn.q_proj) is torch.nn.Linear


def test_one_failed_step_ends_its_sequences_and_two_in_a_row_the_engine(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = bench.alone([5, 6], 8)
    forward, failures = bench.model.forward, iter([True, False])

    def failing(*arguments: Any, **words: Any) -> Any:
        if next(failures, False):
            raise RuntimeError("out of memory")
        return forward(*arguments, **words)

    monkeypatch.setattr(bench.model, "forward", failing)
    failed = bench.submit([5, 6], 8)
    assert (bench.last(failed).finish, bench.last(failed).error) == (Finish.ERROR, "the model failed: RuntimeError")
    assert bench.alone([5, 6], 8) == expected
    assert not bench.engine.died.is_set()
    failures = iter([True] * 9)
    first, second = bench.submit([5, 6], 8), bench.submit([5] * 100, 8)
    assert {bench.last(first).finish, bench.last(second).finish} == {Finish.ERROR}
    assert bench.engine.died.wait(GUARD)


def test_when_all_must_end_the_waiting_end_too(bench: Bench) -> None:
    bench.may_go_on.clear()
    sequences = [bench.submit([1, 2], 250) for _ in range(8)]
    bench.engine.end_all("closing")
    bench.may_go_on.set()
    assert {(bench.last(sequence).finish, bench.last(sequence).error) for sequence in sequences} <= {
        (Finish.ERROR, "closing"),
        (Finish.LENGTH, None),
    }
    assert bench.last(sequences[-1]).error == "closing"
