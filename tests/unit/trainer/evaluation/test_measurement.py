"""The evaluation with a real model and a real adapter: the same items for both, outcomes kept, no text where none belongs."""

import json
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from finetune_trainer.contract import EvaluationSummary, RunSpec, Verdict
from finetune_trainer.evaluation import AdapterCandidate, FullCandidate, evaluate
from finetune_trainer.evaluation.decoding import answer
from finetune_trainer.evaluation.items import EvaluationItem
from finetune_trainer.evaluation.likelihood import _batches, reference_nats
from finetune_trainer.evaluation.prompts import TokenizedItem, tokenize
from finetune_trainer.pod.errors import DataError, OutOfMemoryError, Stopped
from tests.unit.trainer.conftest import ticket_rows

SpecMaker = Callable[..., RunSpec]


@dataclass
class Bench:
    """A base model with an adapter that was trained by heart on three answers."""

    candidate: AdapterCandidate
    tokenizer: Any
    items_path: Path
    report: Path

    def run(self, spec: RunSpec, **options: Any) -> EvaluationSummary:
        return evaluate(self.candidate, self.tokenizer, spec, items_path=self.items_path, report_folder=self.report, **options)


@pytest.fixture(scope="module")
def adapted(tiny_base: Path) -> tuple[PeftModel, Any]:
    tokenizer = AutoTokenizer.from_pretrained(tiny_base)
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_pretrained(tiny_base, dtype=torch.float32)
    adapted = get_peft_model(model, LoraConfig(r=8, lora_alpha=16, target_modules="all-linear", task_type="CAUSAL_LM"))
    optimizer = torch.optim.AdamW([p for p in adapted.parameters() if p.requires_grad], lr=1e-2)
    tokens = [tokenize(item, tokenizer) for item in items()]
    for _ in range(80):
        for item in tokens:
            ids = torch.tensor([[*item.prompt, *item.reference, tokenizer.eos_token_id]])
            labels = ids.clone()
            labels[:, : len(item.prompt)] = -100
            adapted(input_ids=ids, labels=labels).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return adapted, tokenizer


def items() -> list[EvaluationItem]:
    """Three items whose prompts have different lengths."""
    rows = [row["messages"] for row in ticket_rows(3, seed=5)]
    return [EvaluationItem(10 + number, messages[number % 2 : 2], messages[2]["content"]) for number, messages in enumerate(rows)]


@pytest.fixture
def bench(adapted: tuple[PeftModel, Any], tmp_path: Path) -> Bench:
    path = tmp_path / "evaluation.jsonl"
    path.write_text("".join(json.dumps({"row": i.row, "prompt": i.prompt, "reference": i.reference}) + "\n" for i in items()))
    return Bench(AdapterCandidate(adapted[0]), adapted[1], path, tmp_path / "out.meta")


def test_the_adapter_is_off_for_base_and_on_for_tuned(bench: Bench, run_spec: SpecMaker) -> None:
    spec = run_spec(evaluation={"metrics": ["ExactMatch", "Perplexity"], "max_new_tokens": 60})
    summary = bench.run(spec)
    exact, perplexity = summary.metrics
    assert (exact.base, exact.tuned, exact.delta) == ("0", "1", "1")
    assert float(perplexity.base) > 300 > 100 > float(perplexity.tuned)
    assert summary.items == 3
    assert summary.verdict is Verdict.NOT_GATED


def test_outcomes_hold_numbers_and_row_numbers_but_no_text(bench: Bench, run_spec: SpecMaker) -> None:
    bench.run(run_spec(evaluation={"metrics": ["ExactMatch", "JSONValidity", "Perplexity"], "max_new_tokens": 60}))
    lines = [json.loads(line) for line in (bench.report / "evaluation-items.jsonl").read_text().splitlines()]
    assert [line["row"] for line in lines] == [10, 11, 12]
    assert all(line["tuned"]["ExactMatch"] == 1.0 and line["base"]["ExactMatch"] == 0.0 for line in lines)
    for name in ("evaluation-items.jsonl", "evaluation.json"):
        written = (bench.report / name).read_text()
        assert not any(item.reference in written or item.prompt[-1]["content"] in written for item in items())


def test_examples_show_prompt_reference_and_both_answers(bench: Bench, run_spec: SpecMaker) -> None:
    bench.run(run_spec(evaluation={"metrics": ["ExactMatch"], "max_new_tokens": 60}))
    examples = json.loads((bench.report / "examples.json").read_text())
    assert [example["tuned"] for example in examples] == [item.reference for item in items()]
    assert all(set(example) == {"row", "prompt", "reference", "base", "tuned"} for example in examples)


def test_of_governed_data_no_text_is_kept(bench: Bench, run_spec: SpecMaker) -> None:
    summary = bench.run(run_spec(evaluation={"metrics": ["ExactMatch"], "max_new_tokens": 60}), keep_examples=False)
    assert summary.metrics[0].tuned == "1"
    for path in bench.report.iterdir():
        assert not any(item.reference in path.read_text() for item in items()), path.name


def test_the_same_evaluation_twice_writes_the_same_bytes(bench: Bench, run_spec: SpecMaker) -> None:
    spec = run_spec(evaluation={"metrics": ["FieldCompleteness", "Perplexity"], "max_new_tokens": 60})
    written = []
    for _ in range(2):
        bench.run(spec)
        written.append([path.read_bytes() for path in sorted(bench.report.iterdir())])
    assert written[0] == written[1]


def test_batches_and_padding_do_not_change_answers_or_likelihood(adapted: tuple[PeftModel, Any]) -> None:
    model, tokenizer = adapted
    tokens = [tokenize(item, tokenizer) for item in items()]
    prompts = [item.prompt for item in tokens]
    quiet: dict[str, Any] = {"stop": lambda: False, "progress": lambda done: None}
    with AdapterCandidate(model).as_tuned() as tuned:
        alone, together = (answer(tuned, tokenizer, prompts, max_new_tokens=60, batch_size=size, **quiet) for size in (1, 3))
        one, three = (reference_nats(tuned, tokens, batch_size=size, **quiet) for size in (1, 3))
    assert alone == together == [item.reference for item in items()]
    assert [nats for nats, _ in one] == pytest.approx([nats for nats, _ in three], abs=1e-3)
    assert [count for _, count in one] == [len(item.reference) for item in tokens]


@contextmanager
def memory_for(items: int, model: PeftModel, sizes: list[int]) -> Iterator[None]:
    """Memory suffices for so many items at once; ``sizes`` gets how many were tried."""

    def allocate(_module: object, _arguments: object, inputs: dict[str, Any]) -> None:
        sizes.append(len(inputs["input_ids"]))
        if sizes[-1] > items:
            raise RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory")

    hook = model.get_base_model().register_forward_pre_hook(allocate, with_kwargs=True)
    try:
        yield
    finally:
        hook.remove()


@pytest.mark.parametrize("metric", ["ExactMatch", "Perplexity"])
def test_exhausted_memory_halves_the_batch_and_changes_nothing_in_the_result(bench: Bench, run_spec: SpecMaker, metric: str) -> None:
    spec = run_spec(evaluation={"metrics": [metric], "max_new_tokens": 8})
    one_by_one = bench.run(spec, batch_size=1)
    written = {path.name: path.read_bytes() for path in bench.report.iterdir()}
    sizes: list[int] = []
    seen: list[tuple[int, int]] = []
    with memory_for(1, bench.candidate._model, sizes):
        assert bench.run(spec, progress=lambda done, total: seen.append((done, total))) == one_by_one
    assert {path.name: path.read_bytes() for path in bench.report.iterdir()} == written
    assert [size for size in sizes if size > 1] == [3, 3]  # once for each model, and not again for each batch
    assert [done for done, _ in seen] == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize(("metric", "remedy"), [("ExactMatch", "spec.evaluation.maxNewTokens"), ("Perplexity", "longest items")])
def test_an_item_that_memory_cannot_take_alone_ends_with_what_to_change(
    bench: Bench, run_spec: SpecMaker, metric: str, remedy: str
) -> None:
    with memory_for(0, bench.candidate._model, []), pytest.raises(OutOfMemoryError, match="not even one at a time") as ended:
        bench.run(run_spec(evaluation={"metrics": [metric], "max_new_tokens": 8}))
    assert remedy in ended.value.hint
    assert "spec.resources.limits.memory" in ended.value.hint


def test_another_error_of_the_library_is_not_taken_for_exhausted_memory(bench: Bench, run_spec: SpecMaker) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("shapes do not match")

    hook = bench.candidate._model.get_base_model().register_forward_pre_hook(fail)
    try:
        with pytest.raises(RuntimeError, match="shapes"):
            bench.run(run_spec(evaluation={"metrics": ["Perplexity"]}))
    finally:
        hook.remove()


def test_long_references_of_a_large_vocabulary_are_taken_a_few_at_a_time() -> None:
    items = [TokenizedItem([1] * 5, [2] * length) for length in (5, 15, 45, 95, 195)]
    assert list(_batches([0, 1, 2, 3, 4], items, most=16, tokens=100)) == [[0, 1], [2], [3], [4]]
    assert list(_batches([0, 1, 2, 3, 4], items, most=2, tokens=10_000)) == [[0, 1], [2, 3], [4]]


def test_likelihood_agrees_with_the_models_own_loss(adapted: tuple[PeftModel, Any]) -> None:
    model, tokenizer = adapted
    item = tokenize(items()[0], tokenizer)
    ids = torch.tensor([item.prompt + item.reference])
    labels = ids.clone()
    labels[:, : len(item.prompt)] = -100
    with AdapterCandidate(model).as_base() as base, torch.inference_mode():
        loss = float(base(input_ids=ids, labels=labels).loss)
        ((nats, tokens),) = reference_nats(base, [item], batch_size=1, stop=lambda: False, progress=lambda done: None)
    assert nats / tokens == pytest.approx(loss, rel=1e-4)


def test_a_text_without_a_prompt_loses_its_first_token(adapted: tuple[PeftModel, Any]) -> None:
    with AdapterCandidate(adapted[0]).as_base() as base:
        ((_, tokens),) = reference_nats(base, [TokenizedItem([], [5, 6, 7])], batch_size=1, stop=lambda: False, progress=lambda done: None)
    assert tokens == 2


def test_the_models_own_sampling_defaults_have_no_say(adapted: tuple[PeftModel, Any]) -> None:
    model, tokenizer = adapted
    prompts = [tokenize(item, tokenizer).prompt for item in items()]
    with AdapterCandidate(model).as_tuned() as tuned:
        before = tuned.generation_config
        tuned.generation_config = GenerationConfig(
            do_sample=True, temperature=9.0, repetition_penalty=3.0, max_length=5, eos_token_id=tokenizer.eos_token_id
        )
        loud = tuned.generation_config
        try:
            answers = answer(tuned, tokenizer, prompts, max_new_tokens=60, batch_size=2, stop=lambda: False, progress=lambda done: None)
            assert tuned.generation_config is loud
        finally:
            tuned.generation_config = before
    assert answers == [item.reference for item in items()]


def test_a_stop_ends_the_evaluation_within_one_token(bench: Bench, run_spec: SpecMaker) -> None:
    asked = 0

    def stop() -> bool:
        nonlocal asked
        asked += 1
        return asked > 5

    with pytest.raises(Stopped):
        bench.run(run_spec(evaluation={"metrics": ["ExactMatch"], "max_new_tokens": 500}), stop=stop)
    assert asked <= 7
    assert not bench.report.exists()


def test_a_stop_is_heard_where_there_is_no_metric_to_measure(bench: Bench, run_spec: SpecMaker) -> None:
    with pytest.raises(Stopped):
        bench.run(run_spec(evaluation={"metrics": []}), stop=lambda: True)
    assert not bench.report.exists()


def test_progress_counts_both_models_and_ends_at_the_total(bench: Bench, run_spec: SpecMaker) -> None:
    seen: list[tuple[int, int]] = []
    spec = run_spec(evaluation={"metrics": ["ExactMatch", "Perplexity"], "max_new_tokens": 4})
    bench.run(spec, progress=lambda done, total: seen.append((done, total)), batch_size=2)
    assert seen[-1] == (12, 12)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_no_more_items_than_asked_for(bench: Bench, run_spec: SpecMaker) -> None:
    assert bench.run(run_spec(evaluation={"metrics": ["ExactMatch"], "max_items": 2, "max_new_tokens": 4})).items == 2


def test_nothing_held_out_leaves_a_gate_undecided(bench: Bench, run_spec: SpecMaker) -> None:
    bench.items_path.unlink()
    summary = bench.run(run_spec(evaluation={"metrics": ["ExactMatch"], "improvement": {"metric": "ExactMatch"}}))
    assert summary.verdict is Verdict.INCONCLUSIVE
    assert summary.items == 0


def test_no_metric_and_no_gate_measure_nothing(bench: Bench, run_spec: SpecMaker) -> None:
    summary = bench.run(run_spec(evaluation={"metrics": []}))
    assert (summary.verdict, summary.metrics) == (Verdict.NOT_GATED, [])
    assert not (bench.report / "examples.json").exists()


@pytest.mark.parametrize("line", ["{", '{"row": 1}', '{"row": 1, "prompt": 5, "reference": "x"}'])
def test_a_damaged_item_is_named_by_its_line_and_not_quoted(bench: Bench, run_spec: SpecMaker, line: str) -> None:
    bench.items_path.write_text(bench.items_path.read_text() + line)
    with pytest.raises(DataError, match="line 4"):
        bench.run(run_spec(evaluation={"metrics": ["ExactMatch"]}))


def test_a_full_candidate_loads_its_base_only_when_asked(tiny_base: Path, bench: Bench, run_spec: SpecMaker) -> None:
    loads = []

    def load() -> Any:
        loads.append(1)
        return AutoModelForCausalLM.from_pretrained(tiny_base, dtype=torch.float32)

    tuned = AutoModelForCausalLM.from_pretrained(tiny_base, dtype=torch.float32)
    candidate = FullCandidate(tuned, load)
    assert loads == []
    spec = run_spec(evaluation={"metrics": ["Perplexity"]})
    summary = evaluate(candidate, bench.tokenizer, spec, items_path=bench.items_path, report_folder=bench.report)
    assert loads == [1]
    assert summary.metrics[0].delta == "0"
    assert math.isfinite(float(summary.metrics[0].base))


def test_training_mode_is_as_it_was(adapted: tuple[PeftModel, Any]) -> None:
    model, _ = adapted
    model.train()
    with AdapterCandidate(model).as_base() as base:
        assert not base.training
    assert model.training
