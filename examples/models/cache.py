"""Where example models live between two runs: outside the checkout, whole or absent."""

import errno
import hashlib
import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

Say = Callable[[str], None]


def cache_folder() -> Path:
    """``$FINETUNE_CACHE``, else ``finetune-operator`` in the user's cache folder."""
    named = os.environ.get("FINETUNE_CACHE")
    if named:
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "finetune-operator"


def recipe_digest(sources: Iterable[Path], *facts: str) -> str:
    """Twelve hex digits that change whenever the recipe does."""
    digest = hashlib.sha256("\n".join(facts).encode())
    for source in sources:
        digest.update(source.read_bytes())
    return digest.hexdigest()[:12]


def made_once(name: str, recipe: str, make: Callable[[Path], None], say: Say) -> Path:
    """The folder ``<cache>/models/<name>-<recipe>``, made by ``make`` if it is not there; an interrupted making leaves nothing."""
    home = cache_folder() / "models"
    kept = home / f"{name}-{recipe}"
    if kept.is_dir():
        say(f"{name}: from the cache, {kept}")
        return kept
    home.mkdir(parents=True, exist_ok=True)
    fresh = home / f".{name}-{recipe}.{os.getpid()}.tmp"
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir()
    try:
        make(fresh)
        try:
            fresh.rename(kept)
        except OSError as error:
            if error.errno not in {errno.ENOTEMPTY, errno.EEXIST}:
                raise
            shutil.rmtree(fresh)  # another process was faster, by the same recipe
    except BaseException:
        shutil.rmtree(fresh, ignore_errors=True)
        raise
    say(f"{name}: ready in {kept}")
    return kept
