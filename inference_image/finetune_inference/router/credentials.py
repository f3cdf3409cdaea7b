"""Who may ask: callers' keys, the operator's token for probes, and the router's own key for the engine.

All are files that a mounted Secret renews in place, so they are read again and again. Keys leave this module as SHA-256 only, and are
compared in a time that does not depend on them.
"""

import hashlib
import hmac
from pathlib import Path

from finetune_inference.router.messages import Credentials


class Unreadable(OSError):
    """A file with a credential cannot be read; the message names the file and nothing in it."""


def digest(secret: str) -> str:
    """Hex SHA-256: equal length for all, so that a comparison tells nothing."""
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()


def read(keys: Path | None, pin_token: Path | None, engine_key: Path | None, *, keyless_admits: bool = False) -> Credentials:
    """Read all files; raises `Unreadable`. ``keys`` is a folder in which each file is one caller's key, or one file with a key per line.

    ``keyless_admits``: a folder with nothing in it asks nobody for a key, as an optional Secret that is not there; else it lets nobody in.
    """
    known = tuple(sorted(digest(key) for key in _keys(keys))) if keys else ()
    return Credentials(
        required=keys is not None and (bool(known) or not (keyless_admits and _is_vacant(keys))),
        keys=known,
        pin_token=digest(token) if pin_token and (token := _text(pin_token)) else None,
        engine_key=_optional(engine_key) if engine_key else None,
    )


def bearer(authorization: str) -> str:
    """The key in an ``Authorization`` header, or nothing."""
    scheme, _, key = authorization.partition(" ")
    return key.strip() if scheme.lower() == "bearer" else ""


def is_known(key: str, credentials: Credentials) -> bool:
    """Whether a key is among the callers'; looks at all of them, whichever fits."""
    given = digest(key)
    found = False
    for known in credentials.keys:
        found |= hmac.compare_digest(given, known)
    return found and bool(key)


def is_pin_token(token: str, credentials: Credentials) -> bool:
    return bool(token) and credentials.pin_token is not None and hmac.compare_digest(digest(token), credentials.pin_token)


def _is_vacant(folder: Path) -> bool:
    """Whether the folder has no entry; one that leads nowhere counts, since a mounted Secret has such while it swaps its content."""
    try:
        return folder.is_dir() and not _entries(folder)
    except OSError as error:
        raise Unreadable(f"{folder}: {error.strerror}") from error


def _entries(folder: Path) -> list[Path]:
    """Names that begin with a dot are how a mounted Secret swaps its content."""
    return [path for path in folder.iterdir() if not path.name.startswith(".")]


def _keys(source: Path) -> set[str]:
    try:
        texts = [_text(path) for path in _entries(source) if path.is_file()] if source.is_dir() else _text(source).splitlines()
    except OSError as error:
        raise Unreadable(f"{source}: {error.strerror}") from error
    return {text.strip() for text in texts} - {""}


def _optional(path: Path) -> str | None:
    """Nothing where the folder is there and the file is not: an optional Secret that nobody has made."""
    if path.parent.is_dir() and not path.exists():
        return None
    return _text(path) or None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise Unreadable(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise Unreadable(f"{path}: not UTF-8") from error
