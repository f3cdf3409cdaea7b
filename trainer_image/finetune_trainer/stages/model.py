"""From a folder to a model that is ready to be trained by one of the five tuners, or an error that says what to change.

Only safetensors are read and no code from the folder is run. What the libraries would let pass silently (weights that are missing from the
files and start at random, an adapter that never trains) is refused here.
"""

from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, TaskType, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import logging as transformers_logging

from finetune_trainer.contract import Lora, Precision, Quantization, RunSpec, TunerType
from finetune_trainer.pod.errors import ConfigurationError, ModelError
from finetune_trainer.stages.defaults import Device, device_of, precision_of

_DTYPES = {Precision.FP32: torch.float32, Precision.BF16: torch.bfloat16, Precision.FP16: torch.float16}
ALL_LINEAR = "all-linear"


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """The base model's tokenizer, with a padding token that is not its stop token: a padded stop token would never be learned."""
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(
            "TokenizerUnreadable", f"baseModel: no usable tokenizer ({type(error).__name__})", "Add tokenizer.json to the folder."
        ) from error
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.unk_token or tokenizer.eos_token
    return tokenizer


def load_base(spec: RunSpec, folder: Path, device: Device, precision: Precision, *, index: int = 0) -> PreTrainedModel:
    """The base model as its tuner needs it; ``index`` is the accelerator of this process.

    Full: float32 weights, whatever the precision (autocast computes; small updates of bf16 weights would be rounded away). Adapters: the
    base is frozen, so it is held in the precision it computes in. QLoRA: four bits a weight. Raises ``ModelError``.
    """
    dtype = torch.float32 if spec.tuner.type is TunerType.FULL or device == "cpu" else _DTYPES[precision]
    quantized: dict[str, Any] = {}
    if spec.tuner.type is TunerType.QLORA:
        quantized["quantization_config"] = _quantization(spec.tuner.quantization or Quantization(), _DTYPES[precision])
        quantized["device_map"] = {"": device if device == "cpu" else index}
    return load_whole(folder, dtype, **quantized)


def load_whole(folder: Path, dtype: torch.dtype, **options: Any) -> PreTrainedModel:
    """The model in ``folder`` with every weight from its files. Raises ``ModelError`` for what is missing or unreadable."""
    if not (folder / "config.json").is_file():
        raise ModelError(
            "BaseModelMissing", "baseModel: the folder has no config.json", "Point baseModel.uri at a folder in Hugging Face layout."
        )
    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    fixed: dict[str, Any] = {"dtype": dtype, "local_files_only": True, "trust_remote_code": False, "use_safetensors": True}
    try:
        model, report = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True, **fixed, **options)
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise ModelError(
            "BaseModelUnreadable",
            f"baseModel: {type(error).__name__} while loading: {_first_line(error)}",
            "The folder needs safetensors weights of a causal language model that transformers knows; code of its own is not run.",
        ) from error
    missing = sorted(report["missing_keys"])
    if missing:
        raise ModelError(
            "WeightsMissing",
            f"baseModel: {len(missing)} weights are in no file and would start at random, first {missing[0]}",
            "Fetch the base model again; its safetensors files are incomplete or belong to another model.",
        )
    model.config.use_cache = False
    _keep_weights_as_quantized(model)
    return model


def resolve_precision(spec: RunSpec, device: Device) -> Precision:
    """What to compute in, on the device that is really there. Raises ``ConfigurationError`` when a promised accelerator is missing."""
    if device == "cuda":
        _check_accelerators(spec.resources.gpus, torch.cuda.device_count() if torch.cuda.is_available() else 0)
    return precision_of(spec, device, bf16_supported=device == "cuda" and torch.cuda.is_bf16_supported())


def _check_accelerators(asked: int, visible: int) -> None:
    if visible < asked:
        raise ConfigurationError(
            "AcceleratorMissing",
            f"resources.gpus: {asked} asked for, but this container sees {visible or 'none'}",
            "Check the node's device plugin and runtime class, or set resources.gpus to 0 to train on the CPU.",
        )
    if visible > asked:
        raise ConfigurationError(
            "AcceleratorsUnused",
            f"resources.gpus: {asked} asked for, but this container sees {visible}, and one process cannot train on several",
            f"Set resources.gpus to {visible}, or hide the others with CUDA_VISIBLE_DEVICES.",
        )


def load_for_training(spec: RunSpec, folder: Path, device: Device, precision: Precision, *, index: int = 0) -> PreTrainedModel | PeftModel:
    """Base, adapter where the tuner has one, and recomputation of activations where the run asks for it."""
    model = load_base(spec, folder, device, precision, index=index)
    if spec.tuner.type is not TunerType.FULL:
        model = attach_adapter(model, spec)
    if spec.training.gradient_checkpointing:
        recompute_activations(model)
    return model


def load_for_evaluation(spec: RunSpec, folder: Path, adapter: Path | None = None) -> PreTrainedModel | PeftModel:
    """The model in ``folder``, with the adapter if there is one, on the run's device and as it was trained."""
    device = device_of(spec)
    model = load_base(spec, folder, device, resolve_precision(spec, device))
    if adapter is not None:
        model = PeftModel.from_pretrained(model, adapter)
    return model if spec.tuner.type is TunerType.QLORA else model.to(device)


def attach_adapter(model: PreTrainedModel, spec: RunSpec) -> PeftModel:
    """Put a fresh adapter on the base; its random start follows ``training.seed``. Raises ``ConfigurationError``."""
    lora = spec.tuner.lora or Lora()
    check_adapter(model, lora)
    wanted: str | list[str] = ALL_LINEAR if lora.target_modules == [ALL_LINEAR] else lora.target_modules
    config = LoraConfig(
        task_type=TaskType.CAUSAL_LM,
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=float(lora.dropout),
        target_modules=wanted,
        modules_to_save=lora.modules_to_save or None,
        use_dora=spec.tuner.type is TunerType.DORA,
        use_rslora=spec.tuner.type is TunerType.RSLORA,
    )
    torch.manual_seed(spec.training.seed)
    try:
        return get_peft_model(model, config)
    except (ValueError, TypeError) as error:
        raise ConfigurationError(
            "AdapterRefused",
            f"tuner.lora: {_first_line(error)}",
            f"Name linear layers of this model in tuner.lora.targetModules: {', '.join(linear_layers(model)[:12])}.",
        ) from error


def check_adapter(model: PreTrainedModel, lora: Lora) -> None:
    """Refuse what cannot be trained or would break the model; raises ``ConfigurationError`` with the layers that can."""
    layers = linear_layers(model)
    names = {name.rsplit(".", 1)[-1] for name, _ in model.named_modules()}
    unknown = [
        name for name in (*lora.target_modules, *lora.modules_to_save) if name != ALL_LINEAR and name.rsplit(".", 1)[-1] not in names
    ]
    if unknown:
        raise ConfigurationError(
            "UnknownModules", f"tuner.lora: the base model has no module {unknown[0]}", f"Its linear layers are {', '.join(layers[:12])}."
        )
    head = _name_of(model, model.get_output_embeddings()) or "lm_head"
    embedding = _name_of(model, model.get_input_embeddings()) or "embed_tokens"
    if head in lora.target_modules:
        raise ConfigurationError(
            "HeadNotAdaptable",
            f"tuner.lora.targetModules: {head} cannot carry an adapter that servers load",
            f"Remove it, or train it whole with modulesToSave: [{head}] where the base does not tie it to its embeddings.",
        )
    tied = bool(getattr(model.config.get_text_config(), "tie_word_embeddings", False))
    shared = sorted({head, embedding} & {*lora.modules_to_save, *lora.target_modules})
    if tied and shared:
        raise ConfigurationError(
            "TiedEmbeddings",
            f"tuner.lora: this base ties {head} to {embedding}; training {shared[0]} alone would part them",
            "Remove it from modulesToSave and targetModules, or use tuner Full.",
        )


def linear_layers(model: PreTrainedModel) -> list[str]:
    """Short names of the linear layers that can carry an adapter."""
    head = model.get_output_embeddings()
    return sorted(
        {name.rsplit(".", 1)[-1] for name, module in model.named_modules() if isinstance(module, torch.nn.Linear) and module is not head}
    )


def recompute_activations(model: PreTrainedModel | PeftModel) -> None:
    """Trade a second forward pass for activation memory. The libraries are renaming this switch; it is thrown here and nowhere else."""
    how = {"use_reentrant": False}
    if hasattr(model, "activation_checkpointing_enable"):
        model.activation_checkpointing_enable(activation_checkpointing_kwargs=how)
    else:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs=how)
    if isinstance(model, PeftModel):
        model.enable_input_require_grads()


def _quantization(quantization: Quantization, compute: torch.dtype) -> BitsAndBytesConfig:
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type=quantization.type.lower(),
        bnb_4bit_use_double_quant=quantization.double_quantization,
        bnb_4bit_compute_dtype=compute,
    )


def _keep_weights_as_quantized(model: PreTrainedModel) -> None:
    """On CPUs with AVX512-BF16 the first look in evaluation mode would repack four-bit weights in place, with rounded scales.

    The packed format has no backward pass: training after such a look would go on without the gradient through those layers.
    """
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False


def _name_of(model: PreTrainedModel, wanted: torch.nn.Module | None) -> str | None:
    return next((name.rsplit(".", 1)[-1] for name, module in model.named_modules() if module is wanted and wanted is not None), None)


def _first_line(error: BaseException) -> str:
    return str(error).strip().split("\n", 1)[0][:300]
