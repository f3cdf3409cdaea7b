"""Do an adapter's tensors fit the base model?

Names are PEFT's: ``base_model.model.<module>.lora_A.weight`` is rank x inputs, ``lora_B`` outputs x rank. An engine that finds no such
module may say yes and answer as the base model does, so a name that fits nothing is refused.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from finetune_inference.artifact.base_shape import BaseShape, Linear
from finetune_inference.artifact.contents import ADAPTER_CONFIG
from finetune_inference.contract import Finding

_TENSOR = re.compile(r"base_model\.model\.(?P<module>[A-Za-z0-9_.]+)\.(?P<part>lora_A|lora_B|lora_embedding_A|lora_embedding_B)(\.weight)?")
_BESIDE = re.compile(r"\.(lora_magnitude_vector(\.weight)?|lora_B\.bias|bias|base_layer\.weight|token_adapter\.trainable_tokens_delta)$")
_PLAIN = re.compile(r"[A-Za-z0-9_.]+")
_LAYER = re.compile(r"(?:^|\.)layers\.([0-9]{1,6})\.")
_MOST = 8
_AGAIN = "Publish the artifact again as PEFT's save_pretrained writes it."
_OTHER_BASE = "Serve the base model it was trained on, or train again on this one."


@dataclass(frozen=True)
class _Pair:
    a: tuple[int, ...] | None = None
    b: tuple[int, ...] | None = None
    embedding: bool = False


def shape_findings(config: Mapping[str, Any], tensors: Mapping[str, tuple[int, ...]], base: BaseShape | None) -> tuple[Finding, ...]:
    """What is wrong with the tensors of a LoRA adapter, at most eight findings; without ``base`` only whether they fit each other."""
    modules = config.get("modules_to_save")
    saved = tuple(str(name) for name in modules) if isinstance(modules, list) else ()
    found = [*_unknown_targets(config, base)]
    pairs: dict[str, dict[str, tuple[int, ...]]] = defaultdict(dict)
    for name, shape in sorted(tensors.items()):
        if match := _TENSOR.fullmatch(name):
            pairs[match["module"]][match["part"]] = shape
        elif not _BESIDE.search(name) and not any(f".{module}." in f".{name}" for module in saved):
            found.append(_finding(f"tensor:{name}", "TensorUnknown", "belongs to no module of a LoRA adapter", _AGAIN))
    for module, parts in sorted(pairs.items()):
        found.extend(_pair_findings(module, _paired(parts), config, base))
    return tuple(found[:_MOST])


def _paired(parts: Mapping[str, tuple[int, ...]]) -> _Pair:
    if "lora_embedding_A" in parts or "lora_embedding_B" in parts:
        return _Pair(parts.get("lora_embedding_A"), parts.get("lora_embedding_B"), embedding=True)
    return _Pair(parts.get("lora_A"), parts.get("lora_B"))


def _unknown_targets(config: Mapping[str, Any], base: BaseShape | None) -> Iterator[Finding]:
    targets = config.get("target_modules")
    for target in sorted(str(name) for name in targets) if base is not None and isinstance(targets, list) else ():
        if base is not None and target.rpartition(".")[2] not in base.linears:
            where = f"{ADAPTER_CONFIG}:target_modules"
            yield _finding(where, "TargetModuleUnknown", f"the base model has no {target[:80]}", _OTHER_BASE)


def _pair_findings(module: str, pair: _Pair, config: Mapping[str, Any], base: BaseShape | None) -> Iterator[Finding]:
    where = f"tensor:{module}"
    if pair.a is None or pair.b is None or len(pair.a) != 2 or len(pair.b) != 2:
        yield _finding(where, "TensorsUnpaired", "lora_A and lora_B are not both there as matrices", _AGAIN)
        return
    rank = _declared_rank(module, config)
    if pair.a[0] != pair.b[1] or (rank is not None and pair.a[0] != rank):
        message = f"lora_A has rank {pair.a[0]}, lora_B {pair.b[1]}, declared is {rank}"
        yield _finding(where, "RankMismatch", message, _AGAIN)
    if base is None:
        return
    layer = _LAYER.search(module)
    expected = base.linears.get(module.rpartition(".")[2])
    if expected is None or (layer is not None and int(layer[1]) >= base.layers):
        yield _finding(where, "TargetModuleUnknown", "the base model has no such module", _OTHER_BASE)
    elif (found := Linear(pair.a[1], pair.b[0])) != expected:
        message = f"fits {found.inputs} inputs and {found.outputs} outputs, the base model's has {expected.inputs} and {expected.outputs}"
        yield _finding(where, "ShapeMismatch", message, _OTHER_BASE)


def _declared_rank(module: str, config: Mapping[str, Any]) -> int | None:
    """The rank of a module: that of the first pattern its name ends with, else ``r``. None where it takes an expression to know.

    PEFT reads patterns as regular expressions; one from a stranger's file is never run here.
    """
    pattern = config.get("rank_pattern")
    for suffix, rank in pattern.items() if isinstance(pattern, dict) else ():
        if not _PLAIN.fullmatch(str(suffix)):
            return None
        if f".{module}".endswith(f".{suffix}"):
            return rank if isinstance(rank, int) else None
    rank = config.get("r")
    return rank if isinstance(rank, int) else None


def _finding(where: str, reason: str, message: str, way_out: str) -> Finding:
    return Finding(field=where[:160], reason=reason, message=message[:512], way_out=way_out)
