"""Published adapters without a training: folders as the publish step leaves them, with the digest that names them."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from finetune_inference.artifact.contents import folder_digest
from finetune_inference.contract import version_name
from finetune_trainer.contract import digest_of

BASE_NAME = "base"
BASE_DIGEST = digest_of(b"the base model's files")
BASE_CONFIG: dict[str, Any] = {
    "model_type": "llama",
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 64,
}


@dataclass(frozen=True)
class Published:
    folder: Path
    digest: str
    uri: str

    def name(self, alias: str) -> str:
        return version_name(alias, self.digest)


@dataclass
class AdapterFiles:
    """Change any of these before `publish`; ``base`` is the base model's config.json, of a kind like Llama's."""

    seed: int = 0
    base: Mapping[str, Any] = field(default_factory=lambda: BASE_CONFIG)
    rank: int = 4
    scale: float = 1.0  # 0.0: every lora_B is zero, and the adapter changes nothing
    config: dict[str, Any] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    extra: dict[str, bytes] = field(default_factory=dict)

    @property
    def sizes(self) -> dict[str, tuple[int, int]]:
        """Inputs and outputs of the layers that it changes."""
        hidden = self.base["hidden_size"]
        keys = hidden // self.base["num_attention_heads"] * self.base["num_key_value_heads"]
        return {"q_proj": (hidden, hidden), "v_proj": (hidden, keys)}

    def tensors(self) -> dict[str, np.ndarray]:
        rng = np.random.default_rng(self.seed)
        found = {}
        for layer in range(self.base["num_hidden_layers"]):
            for module, (inputs, outputs) in self.sizes.items():
                stem = f"base_model.model.model.layers.{layer}.self_attn.{module}"
                found[f"{stem}.lora_A.weight"] = rng.normal(size=(self.rank, inputs)).astype(np.float32)
                found[f"{stem}.lora_B.weight"] = (self.scale * rng.normal(size=(outputs, self.rank))).astype(np.float32)
        return found

    def write(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        config = {
            "peft_type": "LORA",
            "task_type": "CAUSAL_LM",
            "r": self.rank,
            "lora_alpha": 2 * self.rank,
            "target_modules": sorted(self.sizes),
            "bias": "none",
            "base_model_name_or_path": "pvc://models/base",
            **self.config,
        }
        facts = {
            "apiVersion": "finetune.dev/v1alpha1",
            "kind": "ArtifactFacts",
            "weights": "Adapter",
            "base": {"uri": "pvc://models/base", "digest": BASE_DIGEST},
            **self.facts,
        }
        (folder / "adapter_config.json").write_text(json.dumps(config, sort_keys=True), encoding="utf-8")
        (folder / "finetune.json").write_text(json.dumps(facts, sort_keys=True), encoding="utf-8")
        save_file(self.tensors(), folder / "adapter_model.safetensors")
        for name, content in self.extra.items():
            (folder / name).write_bytes(content)


def publish(files: AdapterFiles, volume: Path, claim: str = "adapters") -> Published:
    """Write the artifact to ``<volume>/team/<digest hex>``."""
    staged = volume / "team" / ".staged"
    files.write(staged)
    digest = folder_digest(staged)
    folder = staged.rename(staged.with_name(digest.removeprefix("sha256:")))
    return Published(folder, digest, f"pvc://{claim}/team/{folder.name}")
