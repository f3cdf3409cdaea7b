"""What vLLM keeps of adapters, in two places that do not agree: the front end's list of names, and the engine's cache of weights.

Unloading takes the name off the list and leaves the weights in the cache; the cache forgets the least recently used, and reads it again
from disk at the next request for a name that is still listed.
"""

import hashlib
import json
from collections import Counter, OrderedDict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

TOKENS = (" the", " a", " ticket", " {", "\n", " billing", " yes")


class NotFound(Exception):
    """No adapter at that path."""


class Unsupported(Exception):
    """The engine has the files and refuses them; the text is the engine's own."""


@dataclass(frozen=True)
class Weights:
    """``seed`` differs for different weights; without ``effect`` every lora_B is zero."""

    path: str
    rank: int
    seed: bytes
    effect: bool

    @classmethod
    def read(cls, path: str, max_rank: int) -> "Weights":
        folder = Path(path)
        if not (folder / "adapter_config.json").is_file():
            raise NotFound(path)
        config = json.loads((folder / "adapter_config.json").read_bytes())
        if config.get("use_dora"):
            raise Unsupported("vLLM does not yet support DoRA.")
        if config["r"] > max_rank:
            raise Unsupported(f"LoRA rank {config['r']} is greater than max_lora_rank {max_rank}.")
        tensors = load_file(folder / "adapter_model.safetensors")
        effect = any(np.any(tensor) for name, tensor in tensors.items() if "lora_B" in name)
        seed = hashlib.sha256(b"".join(tensors[name].tobytes() for name in sorted(tensors))).digest()
        return cls(path, config["r"], seed, effect)


class Adapters:
    """List and cache; ``counts`` is the evidence for tests."""

    def __init__(self, *, max_cpu_loras: int, max_rank: int) -> None:
        self.listed: dict[str, str] = {}
        self.cache: OrderedDict[tuple[str, str], Weights] = OrderedDict()
        self.counts: Counter[str] = Counter()
        self.log: list[str] = []
        self._slots = max_cpu_loras
        self._max_rank = max_rank

    def add(self, name: str, path: str) -> None:
        self.read(name, path)
        self.listed[name] = path
        self.log.append(f"load {name}")

    def remove(self, name: str) -> None:
        del self.listed[name]
        self.log.append(f"unload {name}")

    def use(self, name: str) -> Weights:
        return self.read(name, self.listed[name])

    def read(self, name: str, path: str) -> Weights:
        """The weights from the cache, or from disk in the place of the least recently used."""
        key = (name, path)
        if key not in self.cache:
            self.cache[key] = Weights.read(path, self._max_rank)
            self.counts["diskReads"] += 1
        self.cache.move_to_end(key)
        while len(self.cache) > self._slots:
            self.cache.popitem(last=False)
            self.counts["evictions"] += 1
        return self.cache[key]


def first_token(prompt: str, weights: Weights | None, drift: float = 0.0) -> dict[str, float]:
    """Log-probabilities after ``prompt``: always the same for the same weights, and the base model's where these have no effect."""
    found = {}
    for place, token in enumerate(TOKENS):
        value = -0.4 - place - _unit(b"base", prompt, token)
        if weights is not None and weights.effect:
            value -= 0.2 + _unit(weights.seed, prompt, token)
        found[token] = value - drift
    return found


def _unit(seed: bytes, prompt: str, token: str) -> float:
    return int.from_bytes(hashlib.sha256(seed + prompt.encode() + token.encode()).digest()[:4], "little") / 2**32
