"""A merged model in its place: is it the one that was made of this base and this adapter, file by file?

Nothing is copied: it has the size of its base model. So whoever may write to the claim can change it later; it is hashed before the engine
starts, and once more after every start of the engine that comes later.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from finetune_inference.artifact.contents import FACTS_FILE, folder_digest, refuse_name
from finetune_inference.artifact.errors import IntakeError
from finetune_inference.contract import DesiredVersion
from finetune_trainer.contract import Digest

RECORD_FILE: Final = "record.json"
RECORD_KIND: Final = "MergeRecord"
_LIMIT: Final = 4 << 20
_AGAIN: Final = "Remove the folder and set spec.retry: it is merged again."


@dataclass(frozen=True)
class MergedFolder:
    """Where a version's merged model lies; what describes it lies beside it, as ``<folder>.meta``."""

    folder: Path
    version: str

    @property
    def meta(self) -> Path:
        return self.folder.with_name(f"{self.folder.name}.meta")


def verify_merged(place: MergedFolder, version: DesiredVersion, base: Digest | None, proceed: Callable[[], bool]) -> float:
    """Hash the model and hold its record to what is wanted; the adapter's effect on a logit, as the merge measured it.

    Raises ``IntakeError`` with the way out, ``OSError`` when the volume refuses, ``Interrupted`` when ``proceed`` says no.
    """
    if version.merged is None:
        raise IntakeError("RecordMismatch", "merged", "this pod serves merged models, and the version has none", _AGAIN)
    merge = _record_of(place, version.merged.digest)
    made_of = {"adapterDigest": version.digest, **({"baseDigest": base} if base is not None else {})}
    for field, wanted in made_of.items():
        if merge.get(field) != wanted:
            found = str(merge.get(field))[:80]
            raise IntakeError(
                "RecordMismatch", f"{RECORD_FILE}:merge.{field}", f"the model was made with {found}, wanted is {wanted}", _AGAIN
            )
    for path in place.folder.iterdir():
        refuse_name(path.name)
    found = folder_digest(place.folder, proceed)
    if found != version.merged.digest:
        raise IntakeError("DigestMismatch", "merged.digest", f"the files have digest {found}, wanted is {version.merged.digest}", _AGAIN)
    if (_json(place.folder / "config.json") or {}).get("auto_map"):
        raise IntakeError("RemoteCodeRefused", "config.json", "brings code of its own", "Merge with a base model that needs none.")
    return _effect(merge)


def _record_of(place: MergedFolder, digest: Digest) -> Mapping[str, Any]:
    """What the record says of the merge; raises ``IntakeError`` unless it is the record of this model."""
    record = _json(place.meta / RECORD_FILE) or {}
    merge = record.get("merge")
    if record.get("kind") != RECORD_KIND or record.get("artifactDigest") != digest or not isinstance(merge, dict):
        raise IntakeError("RecordMismatch", RECORD_FILE, f"is no {RECORD_KIND} of {digest}", _AGAIN)
    if (_json(place.folder / FACTS_FILE) or {}).get("weights") != "Model":
        raise IntakeError("RecordMismatch", f"{FACTS_FILE}:weights", "is no whole model", _AGAIN)
    return merge


def _effect(merge: Mapping[str, Any]) -> float:
    try:
        return float(str(merge.get("effect")))
    except ValueError as error:
        raise IntakeError("RecordMismatch", f"{RECORD_FILE}:merge.effect", "is no number", _AGAIN) from error


def _json(path: Path) -> Mapping[str, Any] | None:
    try:
        with path.open("rb") as file:
            content = file.read(_LIMIT + 1)
        document = json.loads(content)
    except FileNotFoundError:
        return None
    except (ValueError, RecursionError) as error:
        raise IntakeError("FileUnreadable", path.name, "is not JSON", _AGAIN) from error
    return document if len(content) <= _LIMIT and isinstance(document, dict) else None
