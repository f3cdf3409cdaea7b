"""From a base model and an adapter to one set of weights, and the proof that nothing was lost on the way.

The library merges layer by layer, in place: memory holds one model in the type of the base, besides the adapter and one layer in float32.
What it would let pass silently is refused here: adapter weights that fit nowhere, and a head that would change with the embeddings it is
tied to.
"""

import shutil
import warnings
from dataclasses import dataclass
from pathlib import Path

import torch
from peft import PeftModel, get_peft_model_state_dict
from peft.tuners.tuners_utils import BaseTunerLayer
from safetensors import safe_open
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

from finetune_trainer.merging.precision import Float32Arithmetic
from finetune_trainer.pod.errors import ModelError
from finetune_trainer.stages.model import load_whole
from finetune_trainer.stages.probe import LogitProbe, difference_from, take_probe

DTYPES = {"F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16}
ADAPTER_WEIGHTS = "adapter_model.safetensors"
SHARD = "5GB"
ROUNDING_STEPS = 2
"""Of the largest logit, in the type of the weights: what the rounding of merged weights may move a logit by. Measured are 0.4 to 0.7 steps,
with a model of 2 layers and one of 30. Float32 weights have the probe's own tolerance."""

_OTHER_BASE = "Merge it into the base model that it was trained on, with a library version that knows this kind of adapter."


@dataclass(frozen=True)
class Reference:
    """What base and adapter answer together, and the largest change of a logit that the adapter makes."""

    probe: LogitProbe
    effect: float


@dataclass(frozen=True)
class Merged:
    """``parted``: the base model ties its head to its embeddings, and the merged model does not."""

    model: PreTrainedModel
    parted: bool


def load_adapted(base: Path, adapter: Path, dtype: str) -> PeftModel:
    """Base with adapter, on the CPU. Raises ``ModelError`` where one does not fit the other."""
    model = load_whole(base, DTYPES[dtype])
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what they are about is compared below
            adapted = PeftModel.from_pretrained(model, adapter, is_trainable=False)
    except (ValueError, RuntimeError, KeyError, TypeError, AttributeError) as error:
        message = str(error).strip().split("\n", 1)[0][:300]
        raise ModelError("AdapterMisfit", f"adapter: it does not fit the base model: {message}", _OTHER_BASE) from error
    _refuse_strays(adapted, adapter / ADAPTER_WEIGHTS)
    return adapted


def refer(adapted: PeftModel, tokenizer: PreTrainedTokenizerBase, dtype: str) -> Reference:
    """Ask base and adapter together, and the base alone, in float32 arithmetic."""
    with Float32Arithmetic():
        probe = take_probe(adapted, tokenizer)
        with adapted.disable_adapter():
            effect = difference_from(adapted, probe)
    largest = max((abs(value) for row in probe.logits for value in row if value is not None), default=0.0)
    rounding = 0.0 if dtype == "F32" else ROUNDING_STEPS * torch.finfo(DTYPES[dtype]).eps * largest
    return Reference(probe.model_copy(update={"tolerance": max(probe.tolerance, rounding)}), effect)


def merge(adapted: PeftModel) -> Merged:
    """Merge in place; ``adapted`` is spent afterwards. Every weight keeps the type it has in the base model."""
    base = adapted.get_base_model()
    types = {name: parameter.dtype for name, parameter in base.named_parameters()}
    tied = _shares_embeddings(base)
    _part_adapted_embeddings(base)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            merged: PreTrainedModel = adapted.merge_and_unload(safe_merge=True)
    except ValueError as error:
        message = f"adapter: merged into the base model it gives weights that are no numbers ({type(error).__name__})"
        raise ModelError("AdapterBroken", message, "Its training ran away, or its files are damaged: train it again.") from error
    for name, parameter in merged.named_parameters():
        parameter.requires_grad_(False)
        parameter.data = parameter.data.to(types.get(name, merged.dtype))
    return Merged(merged, parted=tied and not _tie_again(merged))


def write_weights(merged: Merged, folder: Path) -> None:
    """Put safetensors files, and an index where there are several, into ``folder``; the configs that the library would add stay out."""
    apart = folder / "weights.tmp"
    merged.model.generation_config = GenerationConfig()
    merged.model.save_pretrained(apart, max_shard_size=SHARD)
    for path in apart.iterdir():
        if path.suffix == ".safetensors" or path.name == "model.safetensors.index.json":
            path.chmod(0o644)  # the library's are for their owner alone, and a server is somebody else
            path.rename(folder / path.name)
    shutil.rmtree(apart)


def compare_reloaded(folder: Path, dtype: str, reference: Reference) -> LogitProbe:
    """Load the merged model as a server would, and return the probe with the ``difference`` found. Raises ``ModelError``."""
    try:
        model = load_whole(folder, DTYPES[dtype])
    except ModelError as error:
        raise _defect("MergedUnreadable", f"the merged model cannot be loaded again: {error.message}") from error
    probe = reference.probe
    with Float32Arithmetic():
        difference = difference_from(model, probe)
    if not difference <= probe.tolerance:
        told = f"a logit differs by {difference:.3g}, allowed is {probe.tolerance:.3g}"
        raise _defect("MergeDiffers", f"the merged model answers otherwise than base and adapter together: {told}")
    if not difference < reference.effect / 2:
        raise ModelError(
            "EffectLost",
            f"the adapter changes a logit by {reference.effect:.3g} at most, and rounding to {dtype} changes it by {difference:.3g}",
            "Merge into the base model in float32, or train longer: the adapter changes next to nothing.",
        )
    return probe.model_copy(update={"difference": difference})


def _refuse_strays(adapted: PeftModel, weights: Path) -> None:
    """Every weight of the adapter must have its place, and every place its weight: the library only warns of either."""
    with safe_open(str(weights), framework="pt") as file:
        found = set(file.keys())
    wanted = set(get_peft_model_state_dict(adapted, save_embedding_layers=False))
    base = adapted.get_base_model()
    whole = (base.get_input_embeddings(), base.get_output_embeddings())
    places = [f"base_model.model.{name}" for name, module in base.named_modules() if any(module is one for one in whole)]
    beside = {f"{place}{layer}.weight" for place in places for layer in ("", ".base_layer")}  # the library may save both as they are
    stray = sorted((found ^ wanted) - (beside - wanted))
    if stray:
        what = "has no place in the base model" if stray[0] in found else "is not in the adapter's file"
        raise ModelError("AdapterMisfit", f"adapter: {len(stray)} weights do not fit, first {stray[0][:128]}: it {what}", _OTHER_BASE)


def _part_adapted_embeddings(base: PreTrainedModel) -> None:
    """Give the head weights of its own before an adapter is merged into what both share: it was trained on one of the two."""
    inner, outer = base.get_input_embeddings(), base.get_output_embeddings()
    adapted = [module for module in (inner, outer) if isinstance(module, BaseTunerLayer)]
    if not adapted or not _shares_embeddings(base):
        return
    layer = outer.get_base_layer() if isinstance(outer, BaseTunerLayer) else outer
    layer.weight = torch.nn.Parameter(layer.weight.detach().clone(), requires_grad=False)


def _shares_embeddings(model: PreTrainedModel) -> bool:
    inner, outer = model.get_input_embeddings(), model.get_output_embeddings()
    return inner is not None and outer is not None and bool(inner.weight.data_ptr() == outer.weight.data_ptr())


def _tie_again(model: PreTrainedModel) -> bool:
    """Whether head and embeddings are equal after the merge, and so one again; else the model says that they are two."""
    inner, outer = model.get_input_embeddings(), model.get_output_embeddings()
    same = bool(torch.equal(inner.weight, outer.weight))
    if same:
        outer.weight = inner.weight
    for config in (model.config, model.config.get_text_config()):
        config.tie_word_embeddings = same
    return same


def _defect(reason: str, message: str) -> ModelError:
    hint = "This is a defect of the trainer or of a library under it: report it with the adapter's config. Nothing is published."
    return ModelError(reason, message, hint)
