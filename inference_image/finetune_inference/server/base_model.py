"""The base model as it is served: weights, tokenizer, chat template, and where its answers end."""

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging as transformers_logging

from finetune_inference.server.adapters.template import Served, served
from finetune_inference.server.options import OptionsRefused, ServerOptions

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class BaseModel:
    """``skeleton`` is the same model without weights, against which adapters are checked."""

    name: str
    root: str
    model: Any
    skeleton: nn.Module
    tokenizer: Any
    backend: Tokenizer
    template: Served
    layers: int
    model_length: int
    stops: frozenset[int]


def load(options: ServerOptions) -> BaseModel:
    """Read a model from a folder of safetensors.

    Raises:
        OptionsRefused: the folder holds no model that this server can serve, or an option does not fit it.
    """
    transformers_logging.disable_progress_bar()
    folder = options.model
    if not (folder / "config.json").is_file():
        raise OptionsRefused(f"--model: {folder} has no config.json; name the folder of a model")
    if not any(folder.glob("*.safetensors")):
        raise OptionsRefused(f"--model: {folder} has no safetensors weights; other formats can run code and are not read")
    config = AutoConfig.from_pretrained(str(folder))
    length = _model_length(config, options)
    tokenizer = AutoTokenizer.from_pretrained(str(folder))
    if not tokenizer.is_fast:
        raise OptionsRefused(f"--model: {folder} has no tokenizer.json; convert the tokenizer to a fast one")
    device, dtype = _placement(options)
    settings = {"dtype": dtype, "device_map": {"": device}, "use_safetensors": True, "attn_implementation": "sdpa"}
    model = AutoModelForCausalLM.from_pretrained(str(folder), **settings).eval()
    model.requires_grad_(requires_grad=False)
    with torch.device("meta"):
        skeleton = AutoModelForCausalLM.from_config(_unquantised(config), attn_implementation="sdpa").eval()
    template = tokenizer.chat_template if isinstance(tokenizer.chat_template, str) else None
    return BaseModel(
        name=options.served_model_name,
        root=str(folder),
        model=model,
        skeleton=skeleton,
        tokenizer=tokenizer,
        backend=tokenizer.backend_tokenizer,
        template=served(folder, template, len(tokenizer)),
        layers=config.get_text_config().num_hidden_layers,
        model_length=length,
        stops=_stops(folder, tokenizer),
    )


def _placement(options: ServerOptions) -> tuple[str, torch.dtype]:
    device = options.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise OptionsRefused("--device: there is no accelerator here; use cpu or auto")
    names = {"float32": torch.float32, "bfloat16": torch.bfloat16, "auto": torch.bfloat16 if device == "cuda" else torch.float32}
    return device, names[options.dtype]


def _model_length(config: Any, options: ServerOptions) -> int:
    """Positions a sequence may have. Every layer sees all earlier tokens here, so a model with windows gets no more than one window."""
    text = config.get_text_config()
    kinds = set(getattr(text, "layer_types", None) or ())
    if foreign := sorted(kinds - {"full_attention", "sliding_attention"}):
        raise OptionsRefused(f"--model: layers of the kind {foreign[0]} keep no keys and values; serve this model with vLLM")
    most = int(text.max_position_embeddings)
    window = getattr(text, "sliding_window", None)
    if window and getattr(text, "use_sliding_window", True) and (not kinds or "sliding_attention" in kinds):
        most = min(most, int(window))
    if options.max_model_len is not None and options.max_model_len > most:
        raise OptionsRefused(f"--max-model-len: {options.max_model_len} is above the {most} that the model allows here")
    return options.max_model_len or most


def _stops(folder: Path, tokenizer: Any) -> frozenset[int]:
    """Where an answer ends: at the tokenizer's end token, and at those that the generation configuration names."""
    path = folder / "generation_config.json"
    named = json.loads(path.read_text(encoding="utf-8")).get("eos_token_id") if path.is_file() else None
    tokens = {tokenizer.eos_token_id, *(named if isinstance(named, list) else [named])}
    return frozenset(int(token) for token in tokens if token is not None)


def _unquantised(config: Any) -> Any:
    """Adapters have the shapes of the full-precision layers."""
    plain = type(config).from_dict(config.to_dict())
    if hasattr(plain, "quantization_config"):
        del plain.quantization_config
    return plain
