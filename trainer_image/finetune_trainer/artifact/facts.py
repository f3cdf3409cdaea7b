"""``finetune.json``: what a server must agree on before it serves an artifact, above all the template contract.

An adapter answers well only behind the tokenizer, chat template and stop tokens it was trained with. Their hashes travel with it, so that
a server can refuse instead of answering badly.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from finetune_trainer.artifact.contents import TOKENIZER_FILES, Artifact, ArtifactFile
from finetune_trainer.contract import Digest, Document, RunSpec, TunerType, digest_of
from finetune_trainer.contract.base import Named
from finetune_trainer.pod.sealing import file_digest

if TYPE_CHECKING:  # publishing imports this package too, and needs no torch
    from transformers import PreTrainedTokenizerBase


class TemplateContract(Document):
    """``tokenizer_digest`` covers the tokenizer files in the artifact; token texts and ids are the trained tokenizer's."""

    tokenizer_digest: Digest
    chat_template_digest: Digest | None = None
    vocabulary: int = Field(ge=1)
    special_tokens: dict[str, str]
    stop_tokens: list[str]
    stop_token_ids: list[int]


class BaseFacts(Document):
    uri: str
    digest: Digest
    licence: str | None = None


class TunerFacts(Document):
    type: TunerType
    rank: int | None = None
    alpha: int | None = None
    quantization: str | None = None


class ArtifactFacts(Named):
    """The content of ``finetune.json``; nothing here differs between two runs that produced the same weights."""

    kind: str = "ArtifactFacts"
    weights: str = Field(pattern="^(Adapter|Model)$")
    base: BaseFacts
    stage: str
    tuner: TunerFacts
    max_sequence_length: int
    template: TemplateContract


def artifact_facts(
    spec: RunSpec, folder: Path, base: Path, tokenizer: "PreTrainedTokenizerBase", base_digest: Digest, *, adapter: bool
) -> ArtifactFacts:
    """Facts about the artifact being assembled in ``folder``, whose tokenizer files are already there; ``base`` is the base model's."""
    has_lora = spec.tuner.type is not TunerType.FULL and spec.tuner.lora is not None
    return ArtifactFacts(
        weights="Adapter" if adapter else "Model",
        base=BaseFacts(uri=spec.base_model.uri, digest=base_digest, licence=spec.base_model.licence),
        stage=spec.stage.value,
        tuner=TunerFacts(
            type=spec.tuner.type,
            rank=spec.tuner.lora.rank if has_lora and spec.tuner.lora else None,
            alpha=spec.tuner.lora.alpha if has_lora and spec.tuner.lora else None,
            quantization=spec.tuner.quantization.type if spec.tuner.quantization else None,
        ),
        max_sequence_length=spec.training.max_sequence_length,
        template=template_contract(folder, tokenizer, base),
    )


def template_contract(folder: Path, tokenizer: "PreTrainedTokenizerBase", base: Path) -> TemplateContract:
    """The contract of an artifact whose tokenizer files lie in ``folder``; ``base`` holds the generation config."""
    present = [folder / name for name in sorted(TOKENIZER_FILES) if (folder / name).exists()]
    files = Artifact(tuple(ArtifactFile(path.name, file_digest(path), path.stat().st_size) for path in present))
    stops = _stop_tokens(tokenizer, base / "generation_config.json")
    template = tokenizer.chat_template if isinstance(tokenizer.chat_template, str) else None
    return TemplateContract(
        tokenizer_digest=files.digest,
        chat_template_digest=digest_of(template.encode()) if template else None,
        vocabulary=len(tokenizer),
        special_tokens={name: str(token) for name, token in sorted(tokenizer.special_tokens_map.items()) if isinstance(token, str)},
        stop_tokens=[str(tokenizer.convert_ids_to_tokens(token)) for token in stops],
        stop_token_ids=[int(token) for token in stops],
    )


def _stop_tokens(tokenizer: "PreTrainedTokenizerBase", generation_config: Path) -> list[int]:
    """Where an answer ends: at the tokenizer's end token, and at those the base model's generation config names."""
    config = json.loads(generation_config.read_text(encoding="utf-8")) if generation_config.exists() else {}
    named = config.get("eos_token_id")
    tokens = {tokenizer.eos_token_id, *(named if isinstance(named, list) else [named])}
    return sorted(int(token) for token in tokens if token is not None)
