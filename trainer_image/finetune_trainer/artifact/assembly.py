"""From what the libraries saved to what we publish: only files that are known and safe, and none that remembers the pod it was made in.

The training libraries leave a pickle of the arguments, a generated model card and the container path of the base model: none of it goes on.
"""

import json
import os
import shutil
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetune_trainer.artifact.contents import (
    CONTRACT_FILE,
    TOKENIZER_FILES,
    Artifact,
    inspect,
    refuse_container_paths,
    refuse_damaged_weights,
    refuse_pickles,
)
from finetune_trainer.artifact.facts import artifact_facts
from finetune_trainer.contract import REVIEW_REPORT, SCAN_REPORT, Digest, RunSpec
from finetune_trainer.pod.resolved import RESOLVED_FILE
from finetune_trainer.pod.sealing import sync_folder, write_sealed
from finetune_trainer.pod.workspace import Workspace

if TYPE_CHECKING:  # publishing imports this package too, and needs no torch
    from transformers import PreTrainedTokenizerBase

ADAPTER_CONFIG = "adapter_config.json"
DATA_REPORT = "data-report.json"
VERSIONS = "versions.json"
PATH_KEYS = ("_name_or_path", "name_or_path")
_UNORDERED = ("target_modules", "modules_to_save", "exclude_modules")
"""Lists that the adapter library keeps as sets: their order would change from process to process, and the digest with it."""
_PACKAGES = ("finetune-operator", "torch", "transformers", "trl", "peft", "accelerate", "bitsandbytes", "tokenizers", "safetensors")


def assemble(workspace: Workspace, spec: RunSpec, *, saved: Path, tokenizer: "PreTrainedTokenizerBase", base_digest: Digest) -> Artifact:
    """Build ``workspace.out`` from the folder where ``save_pretrained`` wrote the adapter or the model.

    A fresh folder takes the place of ``out`` in one rename. Data report, resolved settings and library versions go to
    ``workspace.out_meta``.
    Raises ``ModelError`` for pickles, damaged weights or a path of this pod; ``OSError`` when the volume refuses.
    """
    refuse_pickles(saved)
    refuse_damaged_weights(saved)
    fresh = workspace.root / f".out.{os.getpid()}.tmp"
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    adapter = (saved / ADAPTER_CONFIG).exists()
    _take_weights(saved, fresh)
    _take_configs(saved, fresh, spec, adapter=adapter)
    base = workspace.base_model(spec)
    for name in TOKENIZER_FILES:
        if (base / name).is_file():
            copy_file(base / name, fresh / name)
    facts = artifact_facts(spec, fresh, base, tokenizer, base_digest, adapter=adapter)
    write_sealed(fresh / CONTRACT_FILE, pretty(json.loads(facts.to_json())))
    refuse_container_paths(fresh, also=base)
    replace_folder(workspace.out, fresh)
    _describe(workspace, saved)
    return inspect(workspace.out)


def _take_weights(saved: Path, fresh: Path) -> None:
    for path in sorted(saved.glob("*.safetensors")):
        copy_file(path, fresh / path.name)


def _take_configs(saved: Path, fresh: Path, spec: RunSpec, *, adapter: bool) -> None:
    """JSON written anew: sorted keys, sorted sets, and the base model named by its URI."""
    names = [ADAPTER_CONFIG] if adapter else ["config.json", "generation_config.json", "model.safetensors.index.json"]
    for name in names:
        if not (saved / name).exists():
            continue
        config: dict[str, Any] = json.loads((saved / name).read_text(encoding="utf-8"))
        for key in PATH_KEYS:
            config.pop(key, None)
        if name == ADAPTER_CONFIG:
            config["base_model_name_or_path"] = spec.base_model.uri
            for key in _UNORDERED:
                if isinstance(config.get(key), list):
                    config[key] = sorted(config[key])
        write_sealed(fresh / name, pretty(config))


def _describe(workspace: Workspace, saved: Path) -> None:
    """Keep what later steps cannot see any more: the reports on the data, what it was trained with, and the versions that trained."""
    if (saved / RESOLVED_FILE).exists():
        write_sealed(workspace.out_meta / RESOLVED_FILE, pretty(json.loads((saved / RESOLVED_FILE).read_text(encoding="utf-8"))))
    for report, name in ((workspace.data_report, DATA_REPORT), (workspace.data_scan, SCAN_REPORT), (workspace.data_review, REVIEW_REPORT)):
        if report.exists():
            write_sealed(workspace.out_meta / name, report.read_text(encoding="utf-8"))
    write_sealed(workspace.out_meta / VERSIONS, pretty(library_versions()))


def library_versions() -> dict[str, str]:
    """Versions of ourselves and of the libraries that decide what weights come out."""
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def replace_folder(target: Path, fresh: Path) -> None:
    """Put ``fresh`` in the place of ``target``; both lie on one file system."""
    old = target.with_name(f".{target.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if target.exists():
        target.rename(old)
    fresh.rename(target)
    sync_folder(target.parent)
    shutil.rmtree(old, ignore_errors=True)


def copy_file(source: Path, target: Path) -> None:
    """Copy content only (no owner, no times) and flush it to the disk."""
    shutil.copyfile(source, target)
    with target.open("rb") as file:
        os.fsync(file.fileno())


def pretty(value: object) -> str:
    """JSON with one spelling per value, for people."""
    return json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
