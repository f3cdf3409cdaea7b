"""Our own model card: what it is, from what, how good, and how to use it, with the numbers as they were measured."""

import json
import textwrap

from finetune_trainer.artifact.contents import Artifact
from finetune_trainer.contract import EvaluationSummary, JudgeSummary, Metric, PrepareSummary, RunSpec, TrainSummary, Tuner, TunerType
from finetune_trainer.contract.governance.licences import obligations_of
from finetune_trainer.pod.resolved import ResolvedRun, ResolvedTraining

_LOAD_ADAPTER = """
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    base = AutoModelForCausalLM.from_pretrained("<folder of the base model>")
    model = PeftModel.from_pretrained(base, "<folder of this artifact>")
    tokenizer = AutoTokenizer.from_pretrained("<folder of this artifact>")
"""
_LOAD_MODEL = """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained("<folder of this artifact>")
    tokenizer = AutoTokenizer.from_pretrained("<folder of this artifact>")
"""
_BESIDE = (
    "Beside this card: `evaluation.json` and `evaluation-items.jsonl` (every statistic and what it was computed from), "
    "`data-report.json`, `scan-report.json` (identifiers found in the rows, by count), `run.json` (the specification), "
    "`resolved.json` (what it was trained with, every default filled in), `record.json` (digests, versions, origin), "
    "`logit-probe.json` (what the trained model answered to fixed tokens: what you load must answer the same). "
    "`examples.json`, where present, holds five held-out items with the answers of both models."
)


def model_card(
    spec: RunSpec,
    artifact: Artifact,
    prepared: PrepareSummary | None,
    train: TrainSummary,
    resolved: ResolvedRun | None,
    *,
    promotable: bool,
) -> str:
    """The card as Markdown; it holds no text of any row."""
    names = {file.name for file in artifact.files}
    adapter = "adapter_config.json" in names
    sections = [
        _front_matter(spec, prepared, adapter=adapter),
        _title(spec, adapter=adapter),
        _facts(spec, artifact, prepared, train, resolved),
        *_obligations(prepared),
        _evaluation(train.evaluation, promotable=promotable),
        "## Use\n\n```python\n" + textwrap.dedent(_LOAD_ADAPTER if adapter else _LOAD_MODEL).strip() + "\n```",
        "Serve it behind the tokenizer, chat template and stop tokens whose hashes `finetune.json` holds; with others it answers worse.",
        _BESIDE,
    ]
    return "\n\n".join(sections) + "\n"


def _front_matter(spec: RunSpec, prepared: PrepareSummary | None, *, adapter: bool) -> str:
    """What model catalogues read."""
    fields = {
        "library_name": "peft" if adapter else "transformers",
        "base_model": spec.base_model.uri,
        "pipeline_tag": "text-generation",
        **({"license": prepared.licence} if prepared and prepared.licence else {}),
    }
    return "\n".join(["---", *(f"{name}: {json.dumps(value)}" for name, value in fields.items()), "---"])


def _title(spec: RunSpec, *, adapter: bool) -> str:
    kind = "adapter" if adapter else "model"
    job = f"{spec.run.job_namespace}/{spec.run.job_name}"
    return f"# {spec.run.job_name}: a {spec.tuner.type.value} {kind}\n\nRun {spec.run.number} of `{job}`."


def _facts(spec: RunSpec, artifact: Artifact, prepared: PrepareSummary | None, train: TrainSummary, resolved: ResolvedRun | None) -> str:
    rows = [
        ("Artifact", f"`{artifact.digest}`, {artifact.bytes:,} bytes"),
        ("Base model", f"`{spec.base_model.uri}`"),
        ("Stage", spec.stage.value),
        ("Tuner", _tuner(resolved.tuner if resolved else spec.tuner)),
        ("Training", f"{train.steps:,} steps, {train.epoch} epochs, {train.tokens:,} tokens, last loss {train.loss}, {train.seconds:,} s"),
        *([("Settings", _settings(resolved.training))] if resolved else []),
        ("Dataset", f"`{spec.dataset.uri}`"),
    ]
    if train.reload_difference is not None:
        rows.append(("Loaded again", f"largest difference of a logit from the trained model: {train.reload_difference}"))
    if prepared:
        data = prepared.dataset
        rows += [
            ("Base digest", f"`{prepared.base_digest}`"),
            ("Licence of the base", prepared.licence or "not stated"),
            ("Dataset digest", f"`{data.digest}`"),
            (
                "Rows",
                f"{data.examples:,} for training, {data.validation_examples:,} for validation, {data.evaluation_items:,} evaluation items",
            ),
        ]
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)])


def _obligations(prepared: PrepareSummary | None) -> list[str]:
    """A section only where a licence asks for something."""
    asked = obligations_of(prepared.base_model) if prepared else ()
    if not asked:
        return []
    lines = [line for obligation in asked for line in (obligation.notice, obligation.attribution) if line]
    prefixes = [f"Its name must begin with {obligation.name_prefix}." for obligation in asked if obligation.name_prefix]
    return ["## Licence\n\n" + "\n\n".join(dict.fromkeys([*lines, *prefixes, "The agreement and the notice lie beside this card."]))]


def _tuner(tuner: Tuner) -> str:
    lora = tuner.lora
    if tuner.type is TunerType.FULL or lora is None:
        return tuner.type.value
    return f"{tuner.type.value}, rank {lora.rank}, alpha {lora.alpha}, dropout {lora.dropout}"


def _settings(training: ResolvedTraining) -> str:
    batch = f"{training.batch_size} = {training.micro_batch_size} * {training.accumulation} * {training.processes}"
    return (
        f"learning rate {training.learning_rate}, {training.scheduler} after {training.warmup_steps:,} steps of warm-up, "
        f"{training.total_steps:,} steps planned; batch {batch} (at once * accumulated * processes); {training.optimizer}, "
        f"{training.precision.value} on {training.device}, seed {training.seed}"
    )


def _evaluation(evaluation: EvaluationSummary, *, promotable: bool) -> str:
    verdict = f"**{evaluation.verdict.value}**: {evaluation.message}. Promotable: {'yes' if promotable else 'no'}."
    table = ["| Metric | Base | Tuned | Difference (95 % interval) |", "|---|---|---|---|"]
    for metric in evaluation.metrics:
        show = _number if metric.name is Metric.PERPLEXITY else _percent
        delta = f"{show(metric.delta)} ({show(metric.low)} to {show(metric.high)})"
        table.append(f"| {metric.name.value} | {show(metric.base)} | {show(metric.tuned)} | {delta} |")
    measured = f"{evaluation.items} held-out items, the same for both models, greedy decoding; intervals are paired by item."
    shown = ["\n".join(table), measured] if evaluation.metrics else []
    return "\n\n".join(["## Base against tuned", verdict, *shown, *([_judge(evaluation.judge)] if evaluation.judge else [])])


def _judge(judge: JudgeSummary) -> str:
    known = f"right about {judge.calibration_right} of {judge.calibration_pairs} pairs whose better answer is known"
    if not judge.usable:
        return f"Judge: not usable, and so no metric: {judge.message}."
    counted = f"{judge.wins:,} won by the tuned model, {judge.losses:,} by the base model, {judge.ties:,} tied ({judge.flipped:,} flipped)"
    return f"Judge: `{judge.model or 'unnamed'}`, {known}. Each pair was shown in both orders: {counted}."


def _percent(value: str) -> str:
    return f"{100 * float(value):.1f} %"


def _number(value: str) -> str:
    return f"{float(value):.3f}"
