"""A DoRA adapter without a training: a LoRA adapter in the other form, which changes the base model as the first one does.

With magnitudes that are the norms of the changed weights DoRA changes directions alone, by what LoRA adds
(https://arxiv.org/abs/2402.09353, section 4.1).
"""

import json
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

_PREFIX = "base_model.model."


def turn_into_dora(adapter: Path, base: Path) -> None:
    """Change the files of an unpacked LoRA adapter of this base model, whose weights are one file."""
    config = json.loads((adapter / "adapter_config.json").read_text())
    tensors, beneath = load_file(adapter / "adapter_model.safetensors"), load_file(base / "model.safetensors")
    scale = config["lora_alpha"] / config["r"]
    for name in [name for name in tensors if name.endswith(".lora_A.weight")]:
        layer = name.removesuffix(".lora_A.weight")
        weight = beneath[f"{layer.removeprefix(_PREFIX)}.weight"].astype(np.float32)
        changed = weight + scale * tensors[f"{layer}.lora_B.weight"] @ tensors[name]
        tensors[f"{layer}.lora_magnitude_vector"] = np.linalg.norm(changed, axis=1)
    save_file(tensors, adapter / "adapter_model.safetensors", metadata={"format": "pt"})
    (adapter / "adapter_config.json").write_text(json.dumps({**config, "use_dora": True}))
