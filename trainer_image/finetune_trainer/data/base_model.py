"""Is this folder a base model that can be trained here, exactly which one, and under which licence? Asked before anything is computed.

Only safetensors are accepted (a pickle can run code), no code that travels with the model is run, and every refusal names the way out.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from transformers import AutoTokenizer, PreTrainedTokenizerFast
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from finetune_trainer.contract import RunSpec
from finetune_trainer.contract.model import BaseModelFindings, WeightsFormat
from finetune_trainer.data.licences import licence, read_licences
from finetune_trainer.pod.basefiles import file_set_digest
from finetune_trainer.pod.errors import ModelError, UnsafeModelError
from finetune_trainer.pod.weights import read_headers, weight_files

_LICENCE_WORDS = {"Apache License": "Apache-2.0", "MIT License": "MIT", "GNU GENERAL PUBLIC LICENSE": "GPL", "LLAMA": "Llama"}
_PICKLES, _OTHERS = ("*.bin", "*.pt", "*.pth", "*.ckpt"), ("*.gguf", "*.h5", "*.msgpack", "*.onnx")


@dataclass(frozen=True)
class BaseModel:
    """A checked base model: ``licence`` for people, ``findings`` for policies.

    ``stops`` are the ids of the tokens that end an answer, ``positions`` the longest input it knows.
    """

    folder: Path
    digest: str
    licence: str | None
    tokenizer: PreTrainedTokenizerFast
    stops: tuple[int, ...]
    findings: BaseModelFindings
    positions: int | None
    vocabulary: int | None


def check_base_model(spec: RunSpec, folder: Path) -> BaseModel:
    """Check ``folder`` and digest it; raises ``ModelError`` with field, reason and way out."""
    if not folder.is_dir():
        raise _error("BaseModelMissing", f"nothing at {folder}", "Check the path in baseModel.uri: it is relative to the claim's root.")
    config = _json(folder / "config.json")
    if config is None:
        hint = "Point baseModel.uri at the folder that save_pretrained or the hub wrote, not at its parent."
        raise _error("ConfigMissing", f"no config.json in {folder}", hint)
    findings = look_at(folder, spec.base_model.licence)
    _check_code(config, "config.json", findings)
    _check_architecture(config)
    _check_weights(folder, findings)
    tokenizer = _tokenizer(folder, findings)
    digest = file_set_digest(folder)
    if spec.base_model.digest is not None and spec.base_model.digest != digest:
        hint = "Somebody changed the folder, or baseModel.digest belongs to another version: set the one you mean."
        raise _error("DigestMismatch", f"the files have digest {digest}, declared is {spec.base_model.digest}", hint)
    text_config = config.get("text_config") if isinstance(config.get("text_config"), dict) else config
    return BaseModel(
        folder=folder,
        digest=digest,
        licence=spec.base_model.licence or read_licence(folder),
        tokenizer=tokenizer,
        findings=findings,
        stops=_stops(folder, config, tokenizer),
        positions=_integer(text_config, "max_position_embeddings") or _integer(text_config, "n_positions"),
        vocabulary=_integer(text_config, "vocab_size"),
    )


def look_at(folder: Path, claimed: str | None = None) -> BaseModelFindings:
    """What a policy can ask of the files in ``folder``; ``claimed`` is the licence that somebody says it has. Raises ``ModelError``."""
    configs = (_json(folder / name) or {} for name in ("config.json", "tokenizer_config.json"))
    return BaseModelFindings(
        licences=read_licences(folder),
        claimed=licence(claimed) if claimed is not None and claimed.strip() else None,
        formats=_formats(folder),
        remote_code=any(config.get("auto_map") for config in configs),
    )


def _formats(folder: Path) -> tuple[WeightsFormat, ...]:
    """Of the weights that would be loaded: others do not count where there are safetensors."""
    if any(folder.glob("*.safetensors")):
        return (WeightsFormat.SAFETENSORS,)
    pickled = any(path for pattern in _PICKLES for path in folder.glob(pattern))
    other = any(path for pattern in _OTHERS for path in folder.glob(pattern))
    return (*((WeightsFormat.PICKLE,) if pickled else ()), *((WeightsFormat.OTHER,) if other else ()))


def read_licence(folder: Path) -> str | None:
    """What the model's own files say: the front matter of its README, else the first lines of its LICENSE."""
    readme = folder / "README.md"
    if readme.is_file():
        text = readme.read_text(encoding="utf-8", errors="replace")
        if text.startswith("---") and (end := text.find("\n---", 3)) > 0:
            try:
                matter = yaml.safe_load(text[3:end])
            except yaml.YAMLError:
                matter = None
            named = matter.get("license_name") or matter.get("license") if isinstance(matter, dict) else None
            if isinstance(named, str):
                return named[:128]
    for name in ("LICENSE", "LICENSE.txt", "LICENSE.md", "LICENCE"):
        if (folder / name).is_file():
            head = (folder / name).read_text(encoding="utf-8", errors="replace")[:400]
            return next((licence for words, licence in _LICENCE_WORDS.items() if words in head), None)
    return None


def _check_code(config: dict[str, Any], name: str, findings: BaseModelFindings) -> None:
    if config.get("auto_map"):
        hint = "Code that travels with a model is never run here: choose a model whose architecture transformers knows."
        raise UnsafeModelError("RemoteCodeRequired", f"baseModel: {name} asks for code of its own (auto_map)", hint, findings)


def _check_architecture(config: dict[str, Any]) -> None:
    kind = config.get("model_type")
    if kind not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        hint = "A causal language model is needed, of an architecture that this trainer's transformers version knows."
        raise _error("UnknownArchitecture", f"model_type {str(kind)[:64]} in config.json is no causal language model we know", hint)
    if config.get("quantization_config"):
        hint = "Start from the full-precision model; tuner QLoRA quantizes it by itself."
        raise _error("BaseModelQuantized", "config.json says that the weights are quantized already", hint)


def _check_weights(folder: Path, findings: BaseModelFindings) -> None:
    if not weight_files(folder):
        unsafe = sorted(path.name for pattern in (*_PICKLES, *_OTHERS) for path in folder.glob(pattern))
        found = f"only {unsafe[0]}" if unsafe else "no weights"
        hint = "Load the model once where you trust it and save it again: model.save_pretrained(folder) writes safetensors."
        raise UnsafeModelError("NoSafetensors", f"baseModel: {found} in {folder}, but safetensors are needed", hint, findings)
    if not read_headers(folder):
        raise _error("WeightsMissing", "the safetensors files hold no tensor", "Fetch the base model again.")


def _tokenizer(folder: Path, findings: BaseModelFindings) -> PreTrainedTokenizerFast:
    _check_code(_json(folder / "tokenizer_config.json") or {}, "tokenizer_config.json", findings)
    hint = "Add tokenizer.json and tokenizer_config.json to the folder: tokenizer.save_pretrained(folder) writes both."
    if not (folder / "tokenizer.json").is_file():
        raise _error("TokenizerMissing", f"no tokenizer.json in {folder}", hint)
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _error("TokenizerUnreadable", f"the tokenizer cannot be loaded ({type(error).__name__})", hint) from error
    if not isinstance(tokenizer, PreTrainedTokenizerFast):
        raise _error("TokenizerUnreadable", "the tokenizer has no fast version", hint)
    if tokenizer.eos_token_id is None:
        raise _error("StopTokenMissing", "the tokenizer names no eos_token: a model could never end an answer", hint)
    return tokenizer


def _stops(folder: Path, config: dict[str, Any], tokenizer: PreTrainedTokenizerFast) -> tuple[int, ...]:
    """Where an answer ends when the model is served: the generation config's tokens and the tokenizer's own."""
    named = (_json(folder / "generation_config.json") or config).get("eos_token_id")
    tokens = {tokenizer.eos_token_id, *(named if isinstance(named, list) else [named])}
    return tuple(sorted(token for token in tokens if isinstance(token, int)))


def _json(path: Path) -> dict[str, Any] | None:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise _error("BaseModelDamaged", f"{path.name} is not JSON", "Fetch the base model again.") from error
    return value if isinstance(value, dict) else None


def _integer(config: Any, name: str) -> int | None:
    value = config.get(name) if isinstance(config, dict) else None
    return value if isinstance(value, int) and value > 0 else None


def _error(reason: str, message: str, hint: str) -> ModelError:
    return ModelError(reason, f"baseModel: {message}", hint)
