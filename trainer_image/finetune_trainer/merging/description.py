"""What goes with merged weights: configs, tokenizer and facts inside the digest; card and record, with versions and figures, beside it."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from finetune_trainer.artifact.assembly import PATH_KEYS, copy_file, library_versions, pretty
from finetune_trainer.artifact.contents import CONTRACT_FILE, TOKENIZER_FILES, Artifact, refuse_container_paths
from finetune_trainer.artifact.facts import BaseFacts, TemplateContract, TunerFacts, template_contract
from finetune_trainer.artifact.record import FileFact
from finetune_trainer.contract import Digest, Document, MergeRequest, MergeSummary
from finetune_trainer.contract.base import Named
from finetune_trainer.merging.inputs import Inputs
from finetune_trainer.pod.sealing import write_sealed

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

GENERATION_CONFIG = "generation_config.json"
_VOCABULARIES = ("tokenizer.json", "tokenizer.model", "spiece.model", "vocab.json", "vocab.txt")
_LICENCES = ("LICENSE", "LICENSE.md", "LICENSE.txt", "LICENCE", "NOTICE", "NOTICE.txt")


class MergedFrom(Document):
    adapter_digest: Digest
    adapter_type: str = Field(max_length=40)


class MergedFacts(Named):
    """The content of a merged model's ``finetune.json``; ``stage``, ``tuner`` and length are the adapter's, where it told them."""

    kind: str = "ArtifactFacts"
    weights: str = Field(default="Model", pattern="^Model$")
    base: BaseFacts
    merged_from: MergedFrom
    stage: str | None = None
    tuner: TunerFacts | None = None
    max_sequence_length: int | None = None
    template: TemplateContract


class MergeRecord(Named):
    """``record.json`` of a merged model: where it comes from, and how close it came to base and adapter."""

    kind: str = "MergeRecord"
    key: str
    artifact_digest: Digest
    files: list[FileFact]
    base_uri: str
    adapter_uri: str | None = None
    licence: str | None = None
    merge: MergeSummary
    versions: dict[str, str]


def take_configs(inputs: Inputs, folder: Path) -> None:
    """Put configs, tokenizer, chat template and licence into ``folder``.

    The tokenizer is the adapter's where it brings one: what trained with it must be served with it. Configs are the base model's own,
    because engines know them, without the paths that libraries leave in them.
    """
    write_sealed(folder / "config.json", pretty(_without_paths(inputs.base_config)))
    if (inputs.base / GENERATION_CONFIG).is_file():
        generation = json.loads((inputs.base / GENERATION_CONFIG).read_text(encoding="utf-8"))
        write_sealed(folder / GENERATION_CONFIG, pretty(_without_paths(generation)))
    whole = any((inputs.adapter / name).is_file() for name in _VOCABULARIES)
    templates = [name for name in TOKENIZER_FILES if name.startswith("chat_template") and (inputs.adapter / name).is_file()]
    for name in TOKENIZER_FILES:
        source = inputs.adapter if whole or name in templates else inputs.base
        if (source / name).is_file():
            copy_file(source / name, folder / name)
    for name in _LICENCES:
        if (inputs.base / name).is_file():
            copy_file(inputs.base / name, folder / name)


def write_facts(inputs: Inputs, request: MergeRequest, folder: Path, tokenizer: "PreTrainedTokenizerBase", licence: str | None) -> None:
    """Write ``finetune.json``; raises ``ModelError`` if any JSON in ``folder`` names a path of this pod."""
    facts = MergedFacts(
        base=BaseFacts(uri=inputs.base_uri, digest=request.base_digest, licence=licence),
        merged_from=MergedFrom(adapter_digest=request.adapter_digest, adapter_type=str(inputs.adapter_config.get("peft_type")).upper()),
        stage=inputs.facts.stage if inputs.facts else None,
        tuner=inputs.facts.tuner if inputs.facts else None,
        max_sequence_length=inputs.facts.max_sequence_length if inputs.facts else None,
        template=template_contract(folder, tokenizer, folder),
    )
    write_sealed(folder / CONTRACT_FILE, pretty(json.loads(facts.to_json())))
    for place in (inputs.base, inputs.adapter, folder):
        refuse_container_paths(folder, also=place)


def part_embeddings(folder: Path) -> None:
    """Say in ``config.json`` that head and embeddings are two, wherever it speaks about it."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config["tie_word_embeddings"] = False
    if isinstance(text := config.get("text_config"), dict) and "tie_word_embeddings" in text:
        text["tie_word_embeddings"] = False
    write_sealed(folder / "config.json", pretty(config))


def merge_record(inputs: Inputs, request: MergeRequest, artifact: Artifact, summary: MergeSummary, licence: str | None) -> MergeRecord:
    return MergeRecord(
        key=request.key,
        artifact_digest=artifact.digest,
        files=[FileFact(name=file.name, digest=file.digest, bytes=file.bytes) for file in artifact.files],
        base_uri=inputs.base_uri,
        adapter_uri=request.adapter_uri,
        licence=licence,
        merge=summary,
        versions=library_versions(),
    )


def merged_card(record: MergeRecord) -> str:
    """The model card, as Markdown."""
    merge, matter = record.merge, {"library_name": "transformers", "base_model": record.base_uri, "pipeline_tag": "text-generation"}
    if record.licence:
        matter["license"] = record.licence
    rows = [
        ("Artifact", f"`{merge.digest}`, {merge.bytes:,} bytes, {merge.dtype}"),
        ("Base model", f"`{record.base_uri}`, `{merge.base_digest}`"),
        ("Adapter", f"`{record.adapter_uri}`, `{merge.adapter_digest}`" if record.adapter_uri else f"`{merge.adapter_digest}`"),
        ("Licence of the base", record.licence or "not stated"),
        ("Loaded again", f"largest difference of a logit from base and adapter: {merge.difference} (allowed {merge.tolerance})"),
        ("Effect of the adapter", f"largest change of a logit: {merge.effect}"),
        ("Versions", ", ".join(f"{name} {number}" for name, number in sorted(record.versions.items()))),
    ]
    head = "\n".join(["---", *(f"{name}: {json.dumps(value)}" for name, value in matter.items()), "---"])
    table = "\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)])
    use = "Any engine serves it as a model of its base's kind, behind the tokenizer and chat template that lie beside the weights."
    beside = "How good the adapter is: see the card of the adapter. Beside this one: `record.json` and `logit-probe.json`."
    return f"{head}\n\n# A merged model: base and adapter in one set of weights\n\n{table}\n\n{use}\n\n{beside}\n"


def _without_paths(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_paths(entry) for name, entry in value.items() if name not in PATH_KEYS}
    return value
