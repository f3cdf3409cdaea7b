"""Base model and adapter as they lie in their folders: read from the configs first, and hashed before a weight is loaded."""

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from finetune_trainer.artifact.assembly import ADAPTER_CONFIG
from finetune_trainer.artifact.contents import CONTRACT_FILE, inspect, refuse_damaged_weights, refuse_pickles
from finetune_trainer.artifact.facts import ArtifactFacts
from finetune_trainer.contract import Digest, MergeRequest
from finetune_trainer.merging.refusals import refuse_adapter, refuse_base
from finetune_trainer.pod.basefiles import file_set_digest
from finetune_trainer.pod.errors import ConfigurationError, ModelError
from finetune_trainer.pod.weights import TensorHeader, read_headers

_ANOTHER = "Somebody changed the folder, or it is another version's: name the folder and the digest that belong together."
_FLOATS = ("F32", "BF16", "F16")


@dataclass(frozen=True)
class Inputs:
    """``facts`` is what the trainer said about the adapter; None where it comes from elsewhere. ``weight_bytes`` are the base model's."""

    base: Path
    adapter: Path
    base_config: dict[str, Any]
    adapter_config: dict[str, Any]
    facts: ArtifactFacts | None
    base_uri: str
    dtype: str
    weight_bytes: int
    adapter_bytes: int


def read_inputs(request: MergeRequest) -> Inputs:
    """Read configs and headers, and refuse what cannot be merged. Raises ``ConfigurationError`` or ``ModelError``."""
    base, adapter = Path(request.base_path), Path(request.adapter_path)
    adapter_config = _adapter_config(adapter)
    refuse_adapter(adapter_config)
    base_config = _base_config(base)
    refuse_base(base_config)
    facts = _facts(adapter)
    if facts is not None and facts.base.digest != request.base_digest:
        raise ModelError(
            "BaseMismatch",
            f"{CONTRACT_FILE}:base.digest: the adapter was trained on {facts.base.digest}, the base model is to be {request.base_digest}",
            "Merge it into the base model that it was trained on.",
        )
    refuse_pickles(adapter)
    refuse_damaged_weights(adapter)
    headers = read_headers(base)
    return Inputs(
        base=base,
        adapter=adapter,
        base_config=base_config,
        adapter_config=adapter_config,
        facts=facts,
        base_uri=_base_uri(request, facts),
        dtype=weights_dtype(headers),
        weight_bytes=sum(header.bytes for header in headers),
        adapter_bytes=sum(path.stat().st_size for path in adapter.glob("*.safetensors")),
    )


def verify_digests(request: MergeRequest) -> None:
    """Raise ``ModelError`` unless both folders hold what the request says; every file is read once, the small folder first."""
    _verify("adapter", request.adapter_digest, inspect(Path(request.adapter_path)).digest)
    _verify("base model", request.base_digest, file_set_digest(Path(request.base_path)))


def weights_dtype(headers: list[TensorHeader]) -> str:
    """The type of most of the weights; raises ``ModelError`` where that is none that can be merged into."""
    sizes: Counter[str] = Counter()
    for header in headers:
        sizes[header.dtype] += header.bytes
    most = sizes.most_common(1)[0][0] if sizes else "none"
    if most not in _FLOATS:
        raise ModelError(
            "WeightsTypeUnsupported",
            f"base model: most weights are of type {most[:16]}",
            "Merge into a base model in float32, bfloat16 or float16 safetensors; quantized weights cannot take an adapter up.",
        )
    return most


def _verify(what: str, wanted: Digest, found: Digest) -> None:
    if found != wanted:
        raise ModelError("DigestMismatch", f"{what}: the files have digest {found}, asked for is {wanted}", _ANOTHER)


def _adapter_config(adapter: Path) -> dict[str, Any]:
    if not adapter.is_dir():
        raise ModelError("AdapterMissing", f"adapter: nothing at {adapter}", "Check the path: it is relative to the claim's root.")
    config = _json(adapter / ADAPTER_CONFIG)
    if config is not None:
        return config
    if (adapter / "config.json").is_file():
        raise ModelError("NotAnAdapter", "adapter: this is a whole model", "Serve it as it is: there is nothing to merge.")
    raise ModelError(
        "NotAnAdapter", f"adapter: no {ADAPTER_CONFIG} in the folder", "Name the folder that save_pretrained or publish wrote."
    )


def _base_config(base: Path) -> dict[str, Any]:
    config = _json(base / "config.json")
    if config is None:
        hint = "Name the folder that save_pretrained or the hub wrote, not its parent."
        raise ModelError("BaseModelMissing", f"base model: no config.json in {base}", hint)
    return config


def _facts(adapter: Path) -> ArtifactFacts | None:
    try:
        return ArtifactFacts.from_json((adapter / CONTRACT_FILE).read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError as error:
        raise ModelError(
            "AdapterFactsUnreadable",
            f"adapter: {CONTRACT_FILE} is not what this trainer writes",
            "Merge with the trainer version that published the adapter, or a newer one.",
        ) from error


def _base_uri(request: MergeRequest, facts: ArtifactFacts | None) -> str:
    named = request.base_uri or (facts.base.uri if facts else None)
    if named is None:
        hint = "Add --base-uri: the merged model's description says what it was made from."
        raise ConfigurationError("BaseUriMissing", f"the adapter has no {CONTRACT_FILE} that names its base model", hint)
    return named


def _json(path: Path) -> dict[str, Any] | None:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise ModelError("ConfigDamaged", f"{path.name} is not JSON", "Fetch the folder again.") from error
    return value if isinstance(value, dict) else None
