"""The prepare step's work on data as a whole: what it seals, and every mistake it refuses with reason, place and next action."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pyarrow.parquet as pq
import pytest
from transformers import AutoTokenizer

from finetune_trainer.contract import DataQuality, ReviewSample, RunSpec
from finetune_trainer.contract.model import BaseModelFindings, WeightsFormat
from finetune_trainer.data.base_model import check_base_model
from finetune_trainer.data.examples import Document
from finetune_trainer.data.licences import read_licences
from finetune_trainer.data.preparation import PreparedData, prepare_data
from finetune_trainer.data.review import ReviewReport, draw_rows
from finetune_trainer.evaluation.items import EvaluationItem, read_items
from finetune_trainer.evaluation.prompts import tokenize
from finetune_trainer.identifiers.scanner import Found
from finetune_trainer.pod.context import Evidence, StepContext
from finetune_trainer.pod.datamanifest import verified_data
from finetune_trainer.pod.errors import ConfigurationError, DataError, ModelError, StepError
from finetune_trainer.pod.sealing import file_digest
from finetune_trainer.pod.termination import failed
from finetune_trainer.pod.workspace import Workspace
from tests.unit.trainer.conftest import CHATML, TICKET_SCHEMA, ticket_rows, write_rows

Prepare = Callable[..., tuple[PreparedData, Workspace]]


@pytest.fixture
def prepare(run_spec: Callable[..., RunSpec], step_context: Callable[..., StepContext]) -> Prepare:
    def run(**arguments: Any) -> tuple[PreparedData, Workspace]:
        spec = run_spec(**arguments)
        context = step_context(spec)
        base = check_base_model(spec, Path(str(spec.base_model.path)))
        return prepare_data(spec, context.workspace, base, context.events), context.workspace

    return run


def rows_of(workspace: Workspace) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(workspace.train_rows).to_pylist()
    return rows


class TestSealedDataset:
    def test_it_holds_every_row_once_on_one_side_of_the_split(self, prepare: Prepare) -> None:
        data, workspace = prepare()
        train = {row["row"] for row in rows_of(workspace)}
        held_out = {row["row"] for row in pq.read_table(workspace.validation_rows).to_pylist()}
        assert (len(train), len(held_out)) == (32, 8)
        assert train | held_out == set(range(1, 41))
        assert (data.summary.examples, data.summary.validation_examples) == (32, 8)

    def test_its_digest_depends_on_rows_and_settings_alone(self, prepare: Prepare) -> None:
        first, again, shorter = prepare()[0], prepare()[0], prepare(training={"maxSequenceLength": 76})[0]
        assert first.summary.digest == again.summary.digest != shorter.summary.digest

    def test_the_split_does_not_depend_on_the_order_of_the_file(self, prepare: Prepare) -> None:
        rows = ticket_rows(40)
        texts = []
        for ordered in (rows, rows[::-1]):
            _, workspace = prepare(rows=ordered)
            texts.append(sorted(json.loads(line)["reference"] + str(line) for line in _without_numbers(workspace)))
        assert texts[0] == texts[1]

    def test_a_damaged_file_is_noticed_before_anybody_learns_from_it(self, prepare: Prepare) -> None:
        _, workspace = prepare()
        assert verified_data(workspace).content_digest()
        content = bytearray(workspace.train_rows.read_bytes())
        content[len(content) // 2] ^= 1
        workspace.train_rows.write_bytes(content)
        with pytest.raises(DataError, match=r"train\.parquet"):
            verified_data(workspace)

    def test_nothing_quotes_a_row_but_the_rows_themselves(self, prepare: Prepare, tmp_path: Path) -> None:
        rows = ticket_rows(40)
        rows[3]["messages"][1]["role"] = "router"
        data, workspace = prepare(rows=rows)
        told = data.summary.to_json() + workspace.data_report.read_text() + workspace.data_manifest.read_text()
        told += (tmp_path / "events.jsonl").read_text()
        assert not any(word in told for word in ("thermostat", "dishwasher", "charged twice", "My order"))


def _without_numbers(workspace: Workspace) -> list[str]:
    items = [json.loads(line) for line in workspace.evaluation_items.read_text().splitlines()]
    return [json.dumps({"prompt": item["prompt"], "reference": item["reference"]}) for item in items]


class TestEvaluationItems:
    def test_they_come_from_the_held_out_rows_and_are_capped(self, prepare: Prepare) -> None:
        data, workspace = prepare(evaluation={"maxItems": 3})
        items = [json.loads(line) for line in workspace.evaluation_items.read_text().splitlines()]
        assert data.summary.evaluation_items == len(items) == 3
        assert items[0]["prompt"][-1]["role"] == "user"
        assert not {item["row"] for item in items} & {row["row"] for row in rows_of(workspace)}

    def test_an_item_that_asks_what_a_training_row_asks_leaves_the_evaluation(self, prepare: Prepare, tmp_path: Path) -> None:
        seen = ticket_rows(2)
        seen[0]["messages"][1]["content"] = seen[0]["messages"][1]["content"].upper() + " !!"
        source = write_rows(tmp_path / "evaluation.jsonl", [*seen, *ticket_rows(5, seed=3)])
        evaluation = {"source": {"uri": "pvc://data/evaluation.jsonl", "path": str(source)}}
        data, _ = prepare(evaluation=evaluation, validation={"percent": None})
        assert data.summary.evaluation_items == 5
        assert "EvaluationOverlap" in {finding.rule for finding in data.summary.findings}
        assert data.summary.quality == DataQuality(examples=40, task_minimum=1000, duplicates=0, evaluation_overlap=2)

    def test_what_a_policy_can_ask_is_counted(self, prepare: Prepare) -> None:
        rows = ticket_rows(30)
        data, workspace = prepare(rows=[*rows, *rows[:6]], validation={"percent": None})
        assert data.summary.quality == DataQuality(examples=36, task_minimum=1000, duplicates=6, evaluation_overlap=0)
        assert json.loads(workspace.data_report.read_text())["quality"]["duplicates"] == 6


def test_rows_are_drawn_by_the_digest_of_the_data_and_named_by_number_and_hash(prepare: Prepare) -> None:
    data, workspace = prepare()
    text = workspace.data_review.read_text()
    report = ReviewReport.from_json(text)
    assert data.summary.review == ReviewSample(rows=40, of=40, report_digest=report.content_digest())
    assert sorted(row.number for row in report.rows) == list(range(1, 41))
    assert not any(word in text for word in ("thermostat", "billing", "order"))
    workspace = prepare(rows=ticket_rows(40, seed=1))[1]
    again = ReviewReport.from_json(workspace.data_review.read_text())
    assert [row.number for row in again.rows] != [row.number for row in report.rows]


def test_fewer_rows_are_the_first_of_those_drawn() -> None:
    rows = [Document(number, f"text {number}") for number in range(1, 200)]
    seed, other = "sha256:" + "a" * 64, "sha256:" + "b" * 64
    ten, fifty = draw_rows(rows, seed, 10), draw_rows(rows[::-1], seed, 50)
    assert ten.rows == fifty.rows[:10]
    assert len({row.number for row in fifty.rows}) == 50
    assert {row.number for row in draw_rows(rows, other, 10).rows} != {row.number for row in ten.rows}
    changed = [*rows[:-1], Document(199, "another text")]
    assert {row.hash for row in draw_rows(changed, seed).rows} != {row.hash for row in draw_rows(rows, seed).rows}


WITHOUT_SYSTEM = "{%- if messages[0]['role'] == 'system' %}{{- raise_exception('no system role') }}{%- endif %}" + CHATML


def without_system(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"messages": row["messages"][1:]} for row in rows]


class TestItemsAndTheBaseModel:
    """What would end the evaluation after the training ends the run before it."""

    @pytest.fixture
    def strict(self, tiny_base: Path, tmp_path: Path) -> dict[str, Any]:
        """A base model whose chat template knows no system role."""
        return broken_base(tiny_base, tmp_path, lambda folder: (folder / "chat_template.jinja").write_text(WITHOUT_SYSTEM))

    @pytest.fixture
    def plain(self, tiny_base: Path, tmp_path: Path) -> dict[str, Any]:
        """A base model without a chat template."""
        return broken_base(tiny_base, tmp_path, lambda folder: (folder / "chat_template.jinja").unlink())

    def source(self, folder: Path, name: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
        return {"source": {"uri": f"pvc://data/{name}.jsonl", "path": str(write_rows(folder / f"{name}.jsonl", rows))}}

    @pytest.mark.parametrize("role", ["validation", "evaluation"])
    def test_rows_that_the_template_refuses_whole_end_the_run(
        self, role: str, prepare: Prepare, strict: dict[str, Any], tmp_path: Path
    ) -> None:
        held_out = self.source(tmp_path, role, ticket_rows(5, seed=3))
        with pytest.raises(DataError, match=f"{role}.*: 5 of 5 rows cannot be used .*5 TemplateRefused, first row 1") as caught:
            prepare(
                rows=without_system(ticket_rows(40)), **strict, **{role: held_out | ({"percent": None} if role == "validation" else {})}
            )
        assert caught.value.reason == "TooManyRowsDropped"

    def test_a_few_refused_items_are_left_out_and_counted(self, prepare: Prepare, strict: dict[str, Any], tmp_path: Path) -> None:
        items = [*ticket_rows(1, seed=4), *without_system(ticket_rows(19, seed=3))]
        held_out = {**self.source(tmp_path, "evaluation", items), "maxItems": 50}
        data, workspace = prepare(rows=without_system(ticket_rows(40)), **strict, evaluation=held_out)
        assert data.summary.evaluation_items == 19
        assert {count.reason: count.count for count in data.summary.dropped} == {"TemplateRefused": 1}
        tokenizer = AutoTokenizer.from_pretrained(strict["base_model"]["path"])
        assert all(tokenize(item, tokenizer).prompt for item in read_items(workspace.evaluation_items, 50))

    def test_held_out_rows_that_are_dropped_count_against_the_limit(self, prepare: Prepare, strict: dict[str, Any]) -> None:
        rows = [*without_system(ticket_rows(20)), *ticket_rows(20, seed=1)]
        with pytest.raises(DataError, match="20 of 40 rows cannot be used"):
            prepare(rows=rows, **strict, validation={"percent": 50}, thresholds={"maxDroppedPercent": 45})

    def test_without_a_template_longer_conversations_are_refused_as_items_too(
        self, prepare: Prepare, plain: dict[str, Any], tmp_path: Path
    ) -> None:
        held_out = self.source(tmp_path, "evaluation", ticket_rows(5, seed=3))
        with pytest.raises(ModelError, match="ChatTemplateMissing"):
            prepare(rows=without_system(ticket_rows(40)), **plain, evaluation=held_out)

    def test_without_a_template_a_single_question_is_asked_as_plain_text(self, prepare: Prepare, plain: dict[str, Any]) -> None:
        rows = without_system(ticket_rows(40))
        _, workspace = prepare(rows=rows, **plain)
        questions = {row["messages"][0]["content"] for row in rows}
        items = read_items(workspace.evaluation_items, 50)
        assert items
        assert all(item.prompt in questions for item in items)

    @pytest.mark.parametrize(("more", "kept"), [(0, 1), (1, 0)])
    @pytest.mark.parametrize("metric", ["ExactMatch", "Perplexity"])
    def test_question_and_answer_fit_into_the_longest_input_of_the_base_model(
        self, metric: str, more: int, kept: int, prepare: Prepare, tiny_base: Path, tmp_path: Path
    ) -> None:
        """The room that is left is filled to its last token, by the tokens to generate or by the wanted answer, and then by one more."""
        long, short = ticket_rows(2, seed=3)
        tokenizer = AutoTokenizer.from_pretrained(tiny_base)
        taken = tokenize(EvaluationItem(1, long["messages"][:2], ""), tokenizer)
        room = 1024 - len(taken.prompt) + more
        long["messages"][-1]["content"] = "~" * room
        assert len(tokenize(EvaluationItem(1, "", "~" * room), tokenizer).reference) == room
        del short["messages"][0]  # without the system prompt it is shorter than the other one in any case
        held_out = self.source(tmp_path, "evaluation", [short, long])
        new_tokens = room if metric == "ExactMatch" else 1
        data, _ = prepare(evaluation={**held_out, "metrics": [metric], "maxNewTokens": new_tokens})
        assert data.summary.evaluation_items == 1 + kept
        found = [finding.message for finding in data.summary.findings if finding.rule == "EvaluationItemsTooLong"]
        assert len(found) == more
        assert all(message.startswith("1 evaluation items") for message in found)

    def test_an_answer_limit_that_leaves_no_room_at_all_is_refused(self, prepare: Prepare) -> None:
        with pytest.raises(ConfigurationError, match=r"evaluation\.maxNewTokens: not one of 8 evaluation items") as caught:
            prepare(evaluation={"maxNewTokens": 1024})
        assert "Lower evaluation.maxNewTokens" in caught.value.hint

    def test_early_stopping_needs_a_held_out_row(self, prepare: Prepare) -> None:
        same = ticket_rows(1) * 5
        with pytest.raises(DataError, match=r"dataset\.validation: no held-out row is left") as caught:
            prepare(rows=same, training={"earlyStoppingPatience": 3})
        assert caught.value.reason == "NothingHeldOut"
        data, _ = prepare(rows=same)
        assert "NothingHeldOut" in {finding.rule for finding in data.summary.findings}


class TestContinuedPretraining:
    TEXTS: ClassVar = [{"text": f"Chapter {n}. " + "The adapter learns the words of the house. " * n} for n in range(1, 30)]

    def test_packing_lays_documents_end_to_end_and_loses_no_token(self, prepare: Prepare) -> None:
        _, workspace = prepare(
            rows=self.TEXTS,
            stage="ContinuedPretraining",
            training={"packing": True, "maxSequenceLength": 128},
            evaluation={"metrics": ["Perplexity"]},
        )
        lengths = [len(row["input_ids"]) for row in rows_of(workspace)]
        assert set(lengths[:-1]) == {128}

    def test_without_packing_a_long_document_goes_on_in_the_next_row(self, prepare: Prepare) -> None:
        arguments: dict[str, Any] = {"rows": self.TEXTS, "stage": "ContinuedPretraining", "evaluation": {"metrics": ["Perplexity"]}}
        totals = []
        for packing in (True, False):
            data, _ = prepare(**arguments, training={"packing": packing, "maxSequenceLength": 128})
            totals.append(data.summary.tokens)
        assert abs(totals[0] - totals[1]) <= 1  # a last single token teaches nothing

    def test_items_are_texts_without_a_prompt(self, prepare: Prepare) -> None:
        _, workspace = prepare(rows=self.TEXTS, stage="ContinuedPretraining", evaluation={"metrics": ["Perplexity"]})
        item = json.loads(workspace.evaluation_items.read_text().splitlines()[0])
        assert item["prompt"] == ""
        assert item["reference"].startswith("Chapter")


class TestReport:
    def test_long_rows_are_cut_and_counted(self, prepare: Prepare) -> None:
        rows = ticket_rows(40)
        rows[0]["messages"].insert(1, {"role": "user", "content": "x y z " * 200})
        rows[0]["messages"].insert(2, {"role": "assistant", "content": "noted " * 30})
        rows[0]["messages"][1:3] = [{"role": "user", "content": "hm"}, {"role": "assistant", "content": "noted " * 300}]
        data, workspace = prepare(rows=rows, training={"maxSequenceLength": 128}, validation={"percent": None})
        report = json.loads(workspace.data_report.read_text())
        assert report["train"]["truncated"] == 1
        assert data.summary.examples == 40

    def test_rows_with_nothing_left_to_learn_are_dropped_and_counted(self, prepare: Prepare) -> None:
        rows = ticket_rows(40)
        rows[0]["messages"][1]["content"] = "x y z " * 300
        data, _ = prepare(rows=rows, training={"maxSequenceLength": 128}, validation={"percent": None})
        assert [(count.reason, count.count) for count in data.summary.dropped] == [("NothingToLearn", 1)]

    def test_words_of_the_template_inside_a_row_are_warned_of(self, prepare: Prepare) -> None:
        rows = ticket_rows(40)
        rows[0]["messages"][1]["content"] += "<|im_end|> now"
        data, _ = prepare(rows=rows, validation={"percent": None})
        assert "SpecialTokensInText" in {finding.rule for finding in data.summary.findings}

    def test_duplicates_and_labels_are_counted(self, prepare: Prepare) -> None:
        rows = [
            {"prompt": f"ticket {n % 30} about {'money' if n % 3 else 'a parcel'}", "completion": "a" if n % 3 else "b"} for n in range(60)
        ]
        _, workspace = prepare(rows=rows, task={"type": "Classification"}, validation={"percent": None})
        report = json.loads(workspace.data_report.read_text())
        assert report["exactDuplicates"] == 30
        assert report["labelCounts"] == [40, 20]
        assert {"TooFewExamples", "ExactDuplicates"} <= {finding["rule"] for finding in report["findings"]}

    def test_targets_of_a_format_task_must_satisfy_the_schema(self, prepare: Prepare, tmp_path: Path) -> None:
        rows = ticket_rows(40)
        rows[4]["messages"][-1]["content"] = "shipping, I think"
        rows[5]["messages"][-1]["content"] = '{"category": "love", "priority": "low", "escalate": false}'
        task = {"type": "Format", "outputSchemaPath": str(_schema(tmp_path))}
        data, workspace = prepare(rows=rows, task=task)
        assert {count.reason: count.count for count in data.summary.dropped} == {"TargetNotJSON": 1, "TargetViolatesSchema": 1}
        report = workspace.data_report.read_text()
        assert "row 6" in report
        assert "$.category" in report
        assert "love" not in report

    def test_what_answers_must_satisfy_is_sealed_with_the_rows(self, prepare: Prepare, tmp_path: Path) -> None:
        task = {"type": "Format", "outputSchemaPath": str(_schema(tmp_path))}
        before, workspace = prepare(rows=ticket_rows(40), task=task)
        assert verified_data(workspace).schema_digest == file_digest(tmp_path / "schema.json")
        (tmp_path / "schema.json").write_text("{}")
        after, _ = prepare(rows=ticket_rows(40), task=task)
        assert before.summary.digest != after.summary.digest


def _schema(folder: Path) -> Path:
    path = folder / "schema.json"
    path.write_text(json.dumps(TICKET_SCHEMA))
    return path


def broken_base(tiny_base: Path, folder: Path, change: Callable[[Path], object]) -> dict[str, Any]:
    copy = folder / "base"
    shutil.copytree(tiny_base, copy)
    change(copy)
    return {"base_model": {"uri": "pvc://models/broken", "path": str(copy)}}


def edit(name: str, **changes: Any) -> Callable[[Path], object]:
    def change(folder: Path) -> object:
        content = json.loads((folder / name).read_text())
        return (folder / name).write_text(json.dumps({**content, **changes}))

    return change


def cut_weights(folder: Path) -> object:
    weights = folder / "model.safetensors"
    return weights.write_bytes(weights.read_bytes()[:-100])


BROKEN_BASES: dict[str, tuple[Callable[[Path], object], str]] = {
    "config.json is missing": (lambda folder: (folder / "config.json").unlink(), "ConfigMissing"),
    "only a pickle": (lambda folder: (folder / "model.safetensors").rename(folder / "pytorch_model.bin"), "NoSafetensors"),
    "weights cut off": (cut_weights, "WeightsDamaged"),
    "code of its own": (edit("config.json", auto_map={"AutoModel": "modeling.Model"}), "RemoteCodeRequired"),
    "unknown architecture": (edit("config.json", model_type="bert-of-tomorrow"), "UnknownArchitecture"),
    "quantized already": (edit("config.json", quantization_config={"quant_method": "gptq"}), "BaseModelQuantized"),
    "no tokenizer": (lambda folder: (folder / "tokenizer.json").unlink(), "TokenizerMissing"),
    "no chat template": (lambda folder: (folder / "chat_template.jinja").unlink(), "ChatTemplateMissing"),
    "the template never writes the stop token": (
        lambda folder: (folder / "chat_template.jinja").write_text("{%- for m in messages %}{{- m['role'] + m['content'] }}{%- endfor %}"),
        "StopTokenNeverTrained",
    ),
}


@pytest.mark.parametrize("case", BROKEN_BASES)
def test_a_base_model_that_cannot_be_trained_is_refused(case: str, prepare: Prepare, tiny_base: Path, tmp_path: Path) -> None:
    change, reason = BROKEN_BASES[case]
    with pytest.raises(ModelError) as caught:
        prepare(**broken_base(tiny_base, tmp_path, change))
    assert caught.value.reason == reason
    assert "baseModel" in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize(
    ("case", "found"),
    [
        ("only a pickle", BaseModelFindings(formats=(WeightsFormat.PICKLE,))),
        ("code of its own", BaseModelFindings(formats=(WeightsFormat.SAFETENSORS,), remote_code=True)),
        ("unknown architecture", None),
    ],
)
def test_the_last_word_says_what_would_have_run(
    case: str, found: BaseModelFindings | None, prepare: Prepare, tiny_base: Path, tmp_path: Path
) -> None:
    with pytest.raises(ModelError) as caught:
        prepare(**broken_base(tiny_base, tmp_path, BROKEN_BASES[case][0]))
    told = failed(caught.value, "prepare", "a" * 64, Evidence()).base_model
    assert told == (found and found.model_copy(update={"licences": read_licences(tiny_base)}))


def test_the_longest_input_is_found_under_either_name(run_spec: Callable[..., RunSpec], tiny_base: Path, tmp_path: Path) -> None:
    def older(folder: Path) -> object:
        config = json.loads((folder / "config.json").read_text())
        del config["max_position_embeddings"]
        return (folder / "config.json").write_text(json.dumps({**config, "n_positions": 77}))

    spec = run_spec(**broken_base(tiny_base, tmp_path, older))
    assert check_base_model(spec, Path(str(spec.base_model.path))).positions == 77


def bad(count: int, **message: Any) -> list[dict[str, Any]]:
    rows = ticket_rows(40)
    for row in rows[:count]:
        row["messages"][-1].update(message)
    return rows


MISTAKES: dict[str, tuple[dict[str, Any], str, str]] = {
    "no such file": ({"data": Path("/nonexistent/tickets.jsonl")}, "DatasetMissing", "/nonexistent/tickets.jsonl"),
    "empty file": ({"rows": []}, "EmptyDataset", "dataset"),
    "wrong format": ({"dataset": {"format": "Alpaca"}}, "WrongFormat", "looks like Messages"),
    "unknown fields": ({"rows": [{"a": 1}]}, "UnknownFormat", "row 1 has 1 fields, none of them with a name we know"),
    "too many unknown roles": (
        {"rows": bad(20, role="router")},
        "TooManyRowsDropped",
        "20 of 40 rows cannot be used (allowed: 10 %): 20 UnknownRole, first row 1",
    ),
    "every row without an answer": (
        {"rows": [{"messages": row["messages"][:2]} for row in ticket_rows(5)]},
        "TooManyRowsDropped",
        "LastNotAssistant",
    ),
    "pinned to other bytes": ({"dataset": {"digest": "sha256:" + "0" * 64}}, "DigestMismatch", "declared is sha256:0000"),
    "no room for one answer": ({"training": {"maxSequenceLength": 16}}, "TooManyRowsDropped", "NothingToLearn"),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_mistakes_in_the_data_are_refused_with_reason_place_and_next_action(case: str, prepare: Prepare) -> None:
    arguments, reason, place = MISTAKES[case]
    with pytest.raises(StepError) as caught:
        prepare(**arguments)
    assert caught.value.reason == reason
    assert place in caught.value.message
    assert caught.value.hint


def test_the_last_row_cut_off_is_refused_with_its_number(prepare: Prepare, tmp_path: Path) -> None:
    whole = write_rows(tmp_path / "torn.jsonl", ticket_rows(41)).read_bytes()
    (tmp_path / "torn.jsonl").write_bytes(whole[:-40])
    with pytest.raises(DataError, match=r"row 41 \(line 41 of torn.jsonl\) is not valid JSON"):
        prepare(data=tmp_path / "torn.jsonl")


SOURCES = {"dataset": "dataset.inline", "validation": "dataset.validation", "evaluation": "evaluation.dataset"}


@pytest.mark.parametrize("role", SOURCES)
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "{field}.uri: nothing at"),
        ("", "{field}.uri: pvc://data/other holds no row"),
        ('{"prompt": "x"', "{field}: row 1 "),
        ('{"a": 1}', "{field}: row 1 has 1 fields"),
        ('{"messages": []}', "{field}: 1 of 1 rows cannot be used"),
        ('{"prompt": "x", "completion": "y"}', "{field}.format: declared Messages, but row 1 looks like PromptCompletion"),
    ],
)
def test_a_mistake_is_told_with_the_field_of_its_source(
    role: str, content: str | None, words: str, prepare: Prepare, tmp_path: Path
) -> None:
    path = tmp_path / "other.jsonl"
    if content is not None:
        path.write_text(content)
    source = {"uri": "pvc://data/other", "path": str(path), "format": "Messages" if "declared" in words else "Auto"}
    with pytest.raises(DataError) as caught:
        prepare(**{role: source if role == "dataset" else {"source": source, **({"percent": None} if role == "validation" else {})}})
    assert caught.value.message.startswith(words.format(field=SOURCES[role]))
    if content is None:
        assert f"{SOURCES[role]}.uri" in caught.value.hint


class TestIdentifiers:
    """What prepare finds in the rows is counted and never told."""

    SSN, CARD, MAIL, NAME = "123-45-6789", "4111 1111 1111 1111", "ann.lee@clinic.example", "Quetzalcoatl"

    def rows(self) -> list[dict[str, Any]]:
        rows = ticket_rows(40)
        rows[3]["messages"][1]["content"] += f" My number is {self.SSN}, says {self.NAME}."
        rows[5]["reviewer"] = self.MAIL
        rows[9]["messages"][1]["role"] = "router"  # not learned from, and still in the file
        rows[9]["messages"][1]["content"] += f" Pay with {self.CARD}."
        rows[11]["reviewer"] = None
        return rows

    def test_every_source_is_scanned_with_the_rows_and_columns_that_nothing_is_learned_from(self, prepare: Prepare, tmp_path: Path) -> None:
        held = write_rows(tmp_path / "items.jsonl", [{**row, "phone": "+1 212 555 0123"} for row in ticket_rows(4, seed=8)])
        data, workspace = prepare(rows=self.rows(), evaluation={"source": {"uri": "pvc://data/items.jsonl", "path": str(held)}})
        assert data.scan.found == {"ssn": (1, 1), "card": (1, 1), "email": (1, 0), "phone": (4, 0)}
        assert (data.scan.profile, data.scan.entire, data.scan.rows) == ("Identifiers", True, 44)
        report = json.loads(workspace.data_scan.read_text())
        first = {found["entity"]: found["firstRows"] for source in report["sources"] for found in source["entities"]}
        assert first == {"ssn": [4], "email": [6], "card": [10], "phone": [1, 2, 3, 4]}
        assert file_digest(workspace.data_scan) == data.scan.report_digest

    def test_what_was_found_is_told_nowhere(self, prepare: Prepare, tmp_path: Path) -> None:
        data, workspace = prepare(rows=self.rows())
        told = data.scan.to_json() + data.summary.to_json() + (tmp_path / "events.jsonl").read_text()
        told += "".join(path.read_text() for path in (workspace.data_scan, workspace.data_report, workspace.data_manifest))
        for planted in (self.SSN, self.CARD, self.MAIL, self.NAME):
            for spelled in (planted, planted.replace(" ", ""), planted.replace("-", ""), hashlib.sha256(planted.encode()).hexdigest()[:12]):
                assert spelled not in told

    def test_the_sealed_data_do_not_depend_on_what_the_scan_knows(self, prepare: Prepare, monkeypatch: pytest.MonkeyPatch) -> None:
        first = prepare(rows=self.rows())[0]
        monkeypatch.setattr("finetune_trainer.identifiers.scanner.scan", lambda _value, **_rest: Found({}))
        again = prepare(rows=self.rows())[0]
        assert (first.summary.digest, again.scan.found) == (again.summary.digest, {})
