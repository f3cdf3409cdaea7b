"""``finetune-trainer evaluate`` over a work folder that still holds items and artifact."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from finetune_trainer.artifact import assemble
from finetune_trainer.cli.evaluate import execute
from finetune_trainer.contract import RunSpec
from finetune_trainer.pod.context import StepContext
from finetune_trainer.pod.errors import ConfigurationError, DataError, ModelError
from finetune_trainer.stages.probe import PROBE_FILE, take_probe
from tests.unit.trainer.artifact.conftest import BASE_DIGEST, save_adapter
from tests.unit.trainer.conftest import ticket_rows

MakeContext = Callable[..., StepContext]
SpecMaker = Callable[..., RunSpec]


def trained(context: StepContext, base: Path, scratch: Path) -> None:
    """An artifact with what its model answered, and three held-out items."""
    saved, tokenizer = save_adapter(base, scratch / "saved"), AutoTokenizer.from_pretrained(base)
    assemble(context.workspace, context.spec, saved=saved, tokenizer=tokenizer, base_digest=BASE_DIGEST)
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), saved)
    take_probe(model, tokenizer).write(context.workspace.out_meta)
    context.workspace.data.mkdir(parents=True, exist_ok=True)
    items = [
        {"row": number, "prompt": row["messages"][:2], "reference": row["messages"][2]["content"]}
        for number, row in enumerate(ticket_rows(3))
    ]
    context.workspace.evaluation_items.write_text("".join(json.dumps(item) + "\n" for item in items))


def test_the_summary_is_told_and_the_report_written(
    run_spec: SpecMaker, step_context: MakeContext, tiny_base: Path, tmp_path: Path
) -> None:
    context = step_context(run_spec(evaluation={"metrics": ["ExactMatch", "Perplexity"], "max_new_tokens": 4}), out=tmp_path / "report")
    trained(context, tiny_base, tmp_path)
    execute(context)
    told = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    summary = next(event for event in told if event["event"] == "evaluated")
    assert (summary["verdict"], summary["items"]) == ("NotGated", 3)
    perplexity = next(metric for metric in summary["metrics"] if metric["name"] == "Perplexity")
    assert perplexity["base"] != perplexity["tuned"]
    assert json.loads((tmp_path / "report" / "evaluation.json").read_text())["summary"]["metrics"] == summary["metrics"]
    assert [event["done"] for event in told if event["event"] == "evaluating"][-1] == 12
    assert [event["difference"] for event in told if event["event"] == "reloaded"] == [0.0]


def test_no_row_text_is_told(run_spec: SpecMaker, step_context: MakeContext, tiny_base: Path, tmp_path: Path) -> None:
    context = step_context(run_spec(evaluation={"metrics": ["ExactMatch"], "max_new_tokens": 4}))
    trained(context, tiny_base, tmp_path)
    execute(context)
    told = (tmp_path / "events.jsonl").read_text()
    assert not any(message["content"] in told for row in ticket_rows(3) for message in row["messages"])


def test_an_artifact_that_is_not_the_trained_model_is_not_evaluated(
    run_spec: SpecMaker, step_context: MakeContext, tiny_base: Path, tmp_path: Path
) -> None:
    context = step_context(run_spec(), out=tmp_path / "report")
    trained(context, tiny_base, tmp_path)
    weights = context.workspace.out / "adapter_model.safetensors"
    save_file({name: tensor * 1.01 for name, tensor in load_file(weights).items()}, weights)
    with pytest.raises(ModelError, match="ReloadDiffers"):
        execute(context)
    assert not (tmp_path / "report").exists()


def test_without_what_the_trained_model_answered_nothing_is_evaluated(
    run_spec: SpecMaker, step_context: MakeContext, tiny_base: Path, tmp_path: Path
) -> None:
    context = step_context(run_spec())
    trained(context, tiny_base, tmp_path)
    (context.workspace.out_meta / PROBE_FILE).unlink()
    with pytest.raises(ModelError, match="ProbeMissing"):
        execute(context)


def test_a_tidied_work_folder_is_an_error_that_says_so(run_spec: SpecMaker, step_context: MakeContext) -> None:
    with pytest.raises(DataError, match="no held-out items"):
        execute(step_context(run_spec()))


def test_a_metric_that_cannot_be_measured_is_refused_before_anything_is_loaded(run_spec: SpecMaker, step_context: MakeContext) -> None:
    with pytest.raises(ConfigurationError, match="OutputSchemaMissing"):
        execute(step_context(run_spec(evaluation={"metrics": ["SchemaCompliance"]})))
