"""What lies in an adapter's folder, judged before any of it is loaded: safetensors only, nothing whose loading can run code."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetune_inference.server.adapters.refusals import AdapterRefused, not_found

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
CONFIG_LIMIT = 1 << 20
PICKLES = frozenset({".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib", ".dill", ".npy", ".npz"})


@dataclass(frozen=True)
class AdapterFiles:
    folder: Path
    config: dict[str, Any]

    @property
    def weights(self) -> Path:
        return self.folder / WEIGHTS


def find(path: str) -> AdapterFiles:
    """The files of an adapter.

    Raises:
        AdapterRefused: 404 when something is missing, 400 when something is there that must not be.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise not_found(f"lora_path: there is no folder {path}; mount the adapter there or name the folder that holds {CONFIG}")
    if pickles := sorted(file.name for file in folder.rglob("*") if file.suffix.lower() in PICKLES):
        raise AdapterRefused(f"{pickles[0]}: loading this format can run code; save the adapter as {WEIGHTS}")
    for name in (CONFIG, WEIGHTS):
        if not (folder / name).is_file():
            raise not_found(f"lora_path: {path} has no {name}{_model_hint(folder)}")
    return AdapterFiles(folder, _config(folder / CONFIG))


def _config(path: Path) -> dict[str, Any]:
    if path.stat().st_size > CONFIG_LIMIT:
        raise AdapterRefused(f"{CONFIG} is larger than {CONFIG_LIMIT} bytes; it is not an adapter's configuration")
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise AdapterRefused(f"{CONFIG} is not JSON: {error}") from error
    if not isinstance(config, dict):
        raise AdapterRefused(f"{CONFIG} is not an object")
    return config


def _model_hint(folder: Path) -> str:
    whole = (folder / "config.json").is_file() and any(folder.glob("*.safetensors"))
    return "; it holds a whole model: serve it with --model" if whole else ""
