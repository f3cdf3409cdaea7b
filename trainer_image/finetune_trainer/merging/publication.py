"""Publishing a merged model: staged beside its name, sealed, renamed. What is finished is found again by what it was made from."""

import errno
import fcntl
import json
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import ValidationError

from finetune_trainer.artifact.assembly import pretty, replace_folder
from finetune_trainer.artifact.contents import Artifact
from finetune_trainer.artifact.documents import CARD_FILE
from finetune_trainer.artifact.publication import holds, settle
from finetune_trainer.artifact.record import RECORD_FILE
from finetune_trainer.contract import MergeRequest, StepResult
from finetune_trainer.merging.description import MergeRecord, merged_card
from finetune_trainer.pod.errors import StorageError
from finetune_trainer.pod.sealing import write_sealed
from finetune_trainer.pod.termination import mount_of

RESULTS = ".merges"
STEP = "merge"
SPARE_BYTES = 64 << 20
_NO_LOCKS = {errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS}


def finished(request: MergeRequest) -> StepResult | None:
    """The sealed result of an earlier merge of the same inputs, if its model is there; raises ``StorageError`` if that is not whole."""
    try:
        result = StepResult.from_json(_result_path(request).read_bytes())
    except (FileNotFoundError, ValidationError):
        return None
    summary = result.summary.merge
    if summary is None or result.run_key != request.key:
        return None
    return result if holds(Path(request.out_path) / _name(summary.digest), summary.digest) else None


@contextmanager
def alone(request: MergeRequest) -> Iterator[None]:
    """Wait until nobody else merges the same inputs into this folder; a killed process waits for nobody, and nobody for it.

    Two deployments may ask for one model at the same time. Where a volume has no locks the later one fails the earlier one.
    """
    folder = Path(request.out_path) / RESULTS
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{request.key}.lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
        yield


def refuse_small_disk(folder: Path, needed: int, free: int) -> None:
    """Raise ``StorageError`` if ``needed`` bytes and some spare ones are more than are free on the volume of ``folder``."""
    if needed + SPARE_BYTES > free:
        raise StorageError(
            "DiskTooSmall",
            f"the merged model takes {needed + SPARE_BYTES} bytes, the volume at {mount_of(folder)} has {free} free",
            "Enlarge the claim or delete what is not needed on it.",
        )


@contextmanager
def staging(request: MergeRequest, attempt: int) -> Iterator[Path]:
    """A fresh folder beside the final names; it is gone afterwards unless it was renamed. What interrupted attempts left goes first."""
    out, prefix = Path(request.out_path), f".merge-{request.key[:16]}-"
    for left in out.glob(f"{prefix}*.tmp"):
        shutil.rmtree(left)
    staged = out / f"{prefix}{attempt}-{secrets.token_hex(4)}.tmp"
    staged.mkdir()
    try:
        yield staged
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def publish_merged(request: MergeRequest, staged: Path, artifact: Artifact, *, record: MergeRecord, result: StepResult, probe: str) -> None:
    """Description and result first, the name last: a result whose model is missing answers nothing, and the next attempt goes on."""
    out = Path(request.out_path)
    meta = out / f"{artifact.hex}.meta"
    fresh = out / f".{artifact.hex}.meta.{request.key[:8]}.tmp"
    shutil.rmtree(fresh, ignore_errors=True)
    write_sealed(fresh / CARD_FILE, merged_card(record))
    write_sealed(fresh / "logit-probe.json", probe + "\n")
    write_sealed(fresh / RECORD_FILE, pretty(json.loads(record.to_json())))
    replace_folder(meta, fresh)
    write_sealed(_result_path(request), result.to_json())
    if holds(out / artifact.hex, artifact.digest):
        return
    settle(staged, out / artifact.hex, artifact.digest)


def _result_path(request: MergeRequest) -> Path:
    return Path(request.out_path) / RESULTS / f"{request.key}.json"


def _name(digest: str) -> str:
    return digest.removeprefix("sha256:")
