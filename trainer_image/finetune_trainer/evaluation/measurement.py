"""The evaluation itself: both models answer the same items, the outcomes are kept, the gate decides."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from finetune_trainer.contract import Digest, EvaluationSummary, JudgeSummary, Metric, RunSpec
from finetune_trainer.evaluation.candidates import Candidate
from finetune_trainer.evaluation.comparison import compare
from finetune_trainer.evaluation.decoding import answer, raise_if_stopped
from finetune_trainer.evaluation.gate import summarize
from finetune_trainer.evaluation.items import EvaluationItem, read_items
from finetune_trainer.evaluation.judge import Judging
from finetune_trainer.evaluation.likelihood import reference_nats
from finetune_trainer.evaluation.metrics import AnswerScorer, metrics_for, needs_answers, read_output_schema
from finetune_trainer.evaluation.outcomes import Answered, ItemOutcome, write_outcomes
from finetune_trainer.evaluation.prompts import TokenizedItem, tokenize
from finetune_trainer.evaluation.report import ITEMS_FILE, write_examples, write_report

BATCH_SIZE = 16
"""Items at once, to begin with: memory may allow fewer."""


def evaluate(
    candidate: Candidate,
    tokenizer: PreTrainedTokenizerBase,
    spec: RunSpec,
    *,
    items_path: Path,
    report_folder: Path,
    stop: Callable[[], bool] = lambda: False,
    progress: Callable[[int, int], None] = lambda done, total: None,  # noqa: ARG005
    batch_size: int = BATCH_SIZE,
    keep_examples: bool = True,
    schema_digest: Digest | None = None,
) -> EvaluationSummary:
    """Evaluate base and tuned on the sealed items and write outcomes, report and examples into ``report_folder``.

    ``progress(done, total)`` counts passes over items, of both models and the judge; ``batch_size`` changes nothing but speed and memory.
    ``keep_examples`` is false for governed data, of which no text is kept beside an adapter that goes where the data do not;
    ``schema_digest`` is that of the output schema that was agreed to. Raises ``Stopped`` within one token of a stop request,
    ``ConfigurationError`` for metrics that this run cannot measure, ``DataError`` for damaged items or another schema,
    ``OutOfMemoryError`` if memory does not suffice for a single item, ``StorageError`` when a judge cannot be reached.
    """
    metrics = metrics_for(spec)
    scorer = AnswerScorer(metrics, read_output_schema(spec.task.output_schema_path, schema_digest))
    items = read_items(items_path, spec.evaluation.max_items)
    reading = _Reading(
        items=items,
        tokenizer=tokenizer,
        metrics=metrics,
        scorer=scorer,
        max_new_tokens=spec.evaluation.max_new_tokens,
        batch_size=batch_size,
        stop=stop,
        progress=progress,
    )
    judging = Judging.of(spec, stop) if Metric.JUDGE in metrics and items else None
    judge = judging.calibrate(items) if judging is not None else None  # before the models take their time
    with candidate.as_base() as model:
        base, base_answers = reading.take(model)
    with candidate.as_tuned() as model:
        tuned, tuned_answers = reading.take(model)
    raise_if_stopped(stop)  # also where there is no metric, and so nothing that could have looked before
    outcomes = [ItemOutcome(item.row, before, after) for item, before, after in zip(items, base, tuned, strict=True)]
    if judging is not None and judge is not None and judge.usable:
        shares, judge = judging.compare(items, base_answers, tuned_answers, reading.judged)
        outcomes = _with_verdicts(outcomes, shares, judge)
    comparisons = [compare(metric, on, spec.training.seed) for metric in metrics if (on := _measured(outcomes, metric))]
    summary = summarize(comparisons, spec.evaluation.improvement, len(items), judge)
    write_outcomes(report_folder / ITEMS_FILE, outcomes, metrics)
    write_report(report_folder, summary, comparisons, spec, items_path)
    if keep_examples and needs_answers(metrics):
        write_examples(report_folder, items, base_answers, tuned_answers)
    return summary


def _with_verdicts(outcomes: list[ItemOutcome], shares: list[float], judge: JudgeSummary) -> list[ItemOutcome]:
    """The outcomes with the tuned model's share of each pair; as they were where the judge is not to be believed."""
    if not judge.usable:
        return outcomes
    return [
        ItemOutcome(
            each.row,
            replace(each.base, scores={**each.base.scores, Metric.JUDGE: 1 - share}),
            replace(each.tuned, scores={**each.tuned.scores, Metric.JUDGE: share}),
        )
        for each, share in zip(outcomes, shares, strict=True)
    ]


def _measured(outcomes: list[ItemOutcome], metric: Metric) -> list[ItemOutcome]:
    """The outcomes a metric can be computed from: perplexity needs at least one predicted token, Judge a judge that is to be believed."""
    if metric is Metric.PERPLEXITY:
        return [outcome for outcome in outcomes if outcome.base.tokens > 0]
    return [outcome for outcome in outcomes if metric in outcome.tuned.scores]


@dataclass(kw_only=True)
class _Reading:
    """Passes over all items, one per model, with progress over both."""

    items: list[EvaluationItem]
    tokenizer: PreTrainedTokenizerBase
    metrics: tuple[Metric, ...]
    scorer: AnswerScorer
    max_new_tokens: int
    batch_size: int
    stop: Callable[[], bool]
    progress: Callable[[int, int], None]

    def __post_init__(self) -> None:
        self._tokenized: list[TokenizedItem] = [tokenize(item, self.tokenizer) for item in self.items]
        passes = int(needs_answers(self.metrics)) + int(Metric.PERPLEXITY in self.metrics)
        self._done, self._total = 0, (2 * passes + int(Metric.JUDGE in self.metrics)) * len(self.items)

    def take(self, model: PreTrainedModel) -> tuple[list[Answered], list[str]]:
        """Outcomes and answers, one per item."""
        answers = self._answers(model) if needs_answers(self.metrics) else [""] * len(self.items)
        nats = self._nats(model) if Metric.PERPLEXITY in self.metrics else [(0.0, 0)] * len(self.items)
        outcomes = [
            Answered(self.scorer.score(text, item.reference), *likelihood)
            for item, text, likelihood in zip(self.items, answers, nats, strict=True)
        ]
        return outcomes, answers

    def judged(self, items: int) -> None:
        """So many pairs of answers more are judged."""
        self._advance(items)

    def _answers(self, model: PreTrainedModel) -> list[str]:
        return answer(
            model,
            self.tokenizer,
            [item.prompt for item in self._tokenized],
            max_new_tokens=self.max_new_tokens,
            batch_size=self.batch_size,
            stop=self.stop,
            progress=self._advance,
        )

    def _nats(self, model: PreTrainedModel) -> list[tuple[float, int]]:
        return reference_nats(model, self._tokenized, batch_size=self.batch_size, stop=self.stop, progress=self._advance)

    def _advance(self, items: int) -> None:
        self._done += items
        self.progress(self._done, self._total)
