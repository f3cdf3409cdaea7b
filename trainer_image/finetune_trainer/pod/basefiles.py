"""Which base model lies in a folder: a digest over its files, taken by the prepare step and taken again before anything is trained on it.

Hours of waiting for a node may lie between the two, and the claim is somebody else's. The check reads every file once, at the speed of the
volume; that is time and no memory, and most of it comes back: the files then lie in the page cache from which the model is loaded.
"""

from pathlib import Path

from finetune_trainer.contract import Digest, canonical_json, digest_of
from finetune_trainer.pod.errors import ModelError
from finetune_trainer.pod.sealing import file_digest


def file_set_digest(folder: Path) -> str:
    """Digest of names and contents of all files below ``folder`` that are not hidden."""
    files = [path for path in folder.rglob("*") if path.is_file() and not _hidden(path, folder)]
    return digest_of(canonical_json({str(path.relative_to(folder)): file_digest(path) for path in files}).encode())


def verify_base_model(folder: Path, prepared: Digest) -> None:
    """Raise ``ModelError`` unless the files in ``folder`` are those that the prepare step checked."""
    found = file_set_digest(folder)
    if found != prepared:
        raise ModelError(
            "BaseModelChanged",
            f"baseModel: the files were changed after the prepare step checked them: their digest is {found}, it was {prepared}",
            "Put the files back, or set spec.rerun to a new value: the prepare step then checks the base model as it is now.",
        )


def _hidden(path: Path, root: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(root).parts)
