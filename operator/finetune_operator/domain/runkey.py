"""The run key: what makes two specs ask for the same result.

It is a hash of the *declared*, result-defining fields. A field that has its value of ``OMITTED_VALUES`` is left out, as is one that is
absent: so a field that is added later, with a default, changes no key that exists. ``OMITTED_VALUES`` may grow by new fields and may never
change a line, whatever becomes of the schema's defaults. Should the hashed form itself have to change, a new form is put in front of
``FORMS``: specs that were accepted under an older form keep their keys, because every form is compared.
"""

from collections.abc import Callable, Mapping
from typing import Any

from finetune_operator.api.spec import FineTuneJobSpec
from finetune_trainer.contract import canonical_json, digest_of

RESULT_DEFINING = {
    "baseModel": ("uri", "digest"),
    "dataset": ("inline", "ref", "validation", "maxDroppedPercent"),
    "task": ("type", "outputSchema"),
    "stage": (),
    "tuner": ("type", "lora", "quantization"),
    "training": (),
    "evaluation": (),
    "rerun": (),
}
"""Fields of the spec that define a result, and which of their fields; an empty tuple means all of them."""

OMITTED_VALUES: Mapping[str, Any] = {
    "dataset.inline.format": "Auto",
    "dataset.validation": {"percent": 10},
    "dataset.maxDroppedPercent": 10,
    "task.type": "Instruction",
    "task.outputSchema.configMapRef.key": "schema.json",
    "stage": "SFT",
    "tuner.type": "LoRA",
    "tuner.lora.rank": 16,
    "tuner.lora.alpha": 32,
    "tuner.lora.dropout": "0",
    "tuner.lora.targetModules": ["all-linear"],
    "tuner.lora.modulesToSave": [],
    "tuner.quantization.type": "NF4",
    "tuner.quantization.doubleQuantization": True,
    "training.scheduler": "Cosine",
    "training.warmupFraction": "0.05",
    "training.weightDecay": "0",
    "training.maxGradientNorm": "1.0",
    "training.batchSize": 32,
    "training.maxSequenceLength": 2048,
    "training.gradientCheckpointing": False,
    "training.precision": "Auto",
    "training.earlyStopping.patience": 3,
    "training.seed": 42,
    "training.extraArguments": {},
    "evaluation.dataset.format": "Auto",
    "evaluation.maxItems": 200,
    "evaluation.maxNewTokens": 256,
    "evaluation.gates.improvement.minDelta": "0",
    "evaluation.onInconclusive": "Hold",
    "rerun": "",
}
"""By path, the value under which a field is left out of the hash."""

PRESENCE_MATTERS = frozenset({"training.earlyStopping"})
"""Objects that say something by being there, even where all of their fields have omitted values."""


NOT_HASHED = frozenset({"evaluation.judge.credentialsSecretRef"})
"""Who asks defines no result."""

UNORDERED = frozenset({"tuner.lora.targetModules", "tuner.lora.modulesToSave", "evaluation.metrics"})


def run_key(spec: FineTuneJobSpec) -> str:
    """64 hex digits: the key a new run of this spec gets."""
    return FORMS[0](spec)


def same_run_keys(spec: FineTuneJobSpec) -> tuple[str, ...]:
    """Every key, newest form first, under which a run of this very spec may have been recorded."""
    return tuple(form(spec) for form in FORMS)


def _first_form(spec: FineTuneJobSpec) -> str:
    document = spec.to_manifest()
    declared: dict[str, Any] = {}
    for name, parts in RESULT_DEFINING.items():
        if name not in document:
            continue
        value = document[name]
        declared[name] = {part: value[part] for part in parts if part in value} if parts else value
    hashed = {"form": 1, "declared": _without_omitted(declared, "")}
    return digest_of(canonical_json(hashed).encode()).removeprefix("sha256:")


def _without_omitted(value: Any, path: str) -> Any:
    if path in UNORDERED:
        return sorted(value)
    if not isinstance(value, dict) or path == "training.extraArguments":
        return value
    kept: dict[str, Any] = {}
    for name, inner in value.items():
        inner_path = f"{path}.{name}" if path else name
        if inner_path in NOT_HASHED or (inner_path in OMITTED_VALUES and inner == OMITTED_VALUES[inner_path]):
            continue
        reduced = _without_omitted(inner, inner_path)
        if reduced == {} and inner_path not in PRESENCE_MATTERS:
            continue  # nothing in it differs: the same as absent
        kept[name] = reduced
    return kept


FORMS: tuple[Callable[[FineTuneJobSpec], str], ...] = (_first_form,)
