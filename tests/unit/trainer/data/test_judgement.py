"""What the data report counts and advises."""

import pytest

from finetune_trainer.contract import Severity, TaskType
from finetune_trainer.data.duplicates import exact_duplicates, near_duplicates, without_overlap
from finetune_trainer.data.examples import Conversation, Document
from finetune_trainer.data.minima import judge_size, least_useful
from finetune_trainer.data.report import describe_lengths
from finetune_trainer.data.rows import Lengths
from finetune_trainer.data.split import hold_out, sample

STORY = (
    "On a cold morning in March the old harbour master walked down to the quay, counted the boats that had come back during the night, "
    "wrote their names into his book and lit the lamp above the door, although the sun was already standing over the lighthouse."
)


def documents(*texts: str) -> list[Document]:
    return [Document(number, text) for number, text in enumerate(texts, start=1)]


def asked(row: int, question: str, answer: str = "yes") -> Conversation:
    system = {"role": "system", "content": "Answer."}
    return Conversation(row, [system, {"role": "user", "content": question}, {"role": "assistant", "content": answer}])


def test_exact_repeats_are_counted_and_other_rows_are_not() -> None:
    assert exact_duplicates(documents("a", "b", "a", "a")) == 2


def test_a_changed_word_is_a_near_repeat_and_another_text_is_not() -> None:
    nearly = STORY.replace("cold", "clear")
    other = "A list of spare parts for the pump, with their numbers, the weight of each and the shelf where the storekeeper put them."
    assert near_duplicates(documents(STORY, other, nearly)) == 1
    assert near_duplicates(documents(STORY, other)) == 0


def test_an_item_that_differs_in_case_and_punctuation_only_counts_as_seen() -> None:
    kept, removed = without_overlap([asked(1, "Where is my parcel?"), asked(2, "What now?")], [asked(9, "where is my PARCEL", "lost")])
    assert ([item.row for item in kept], removed) == ([2], 1)


@pytest.mark.parametrize(
    ("task", "examples", "labels", "rule"),
    [
        (TaskType.FORMAT, 199, {}, "TooFewExamples"),
        (TaskType.FORMAT, 200, {}, "FewExamples"),
        (TaskType.FORMAT, 500, {}, None),
        (TaskType.CLASSIFICATION, 1000, {"a": 960, "b": 40}, "TooFewExamples"),
        (TaskType.CLASSIFICATION, 1000, {"a": 500, "b": 500}, None),
        (TaskType.INSTRUCTION, 999, {}, "TooFewExamples"),
    ],
)
def test_sizes_are_judged_by_task_and_for_classification_by_the_rarest_label(
    task: TaskType, examples: int, labels: dict[str, int], rule: str | None
) -> None:
    finding = judge_size(task, examples, labels)
    assert (examples < least_useful(task, labels)) is (rule == "TooFewExamples")
    assert (finding.rule if finding else None) == rule
    if finding and rule == "TooFewExamples":
        assert finding.severity is Severity.WARNING


def test_equal_rows_fall_on_the_same_side_and_both_sides_have_rows() -> None:
    rows = documents(*(["same"] * 10), *(f"text {n}" for n in range(10)))
    split = hold_out(rows, 20)
    assert split.train
    assert split.held_out
    assert not {row.plain() for row in split.train} & {row.plain() for row in split.held_out}
    assert hold_out(rows[:10], 20).held_out == []
    assert hold_out(rows, None).held_out == []


def test_a_sample_is_chosen_by_content_and_keeps_the_order_of_rows() -> None:
    rows = documents(*(f"text {n}" for n in range(50)))
    chosen = sample(rows, 7)
    assert [row.row for row in chosen] == sorted(row.row for row in chosen)
    assert {row.plain() for row in sample(rows[::-1], 7)} == {row.plain() for row in chosen}


def test_every_row_is_in_the_histogram_once() -> None:
    lengths = Lengths(tokens=[1, 5, 5, 17, 300, 4096], learned=[1] * 6, truncated=1)
    report = describe_lengths(lengths)
    assert sum(report.histogram) == 6
    assert (report.longest, report.total, report.truncated) == (4096, 4424, 1)
    assert report.bounds[-1] >= 4096
