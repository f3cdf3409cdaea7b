"""Options that say where an adapter, its chain and the trusted keys lie, and the reading of them."""

import argparse
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

from finetune_cli.command import Mistake
from finetune_record.folder import read_published
from finetune_record.keys import KeyUnusable, PublicKeys, public_keys_of
from finetune_record.problems import Check, Problem
from finetune_record.stored import LogLine, Stored, StoredUnreadable, read_anchors, read_records
from finetune_record.verification import Evidence, Found, Verification, verify

Read = TypeVar("Read")


def add_evidence_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="the adapter's folder; FOLDER.meta lies beside it")
    parser.add_argument(
        "--key", type=Path, action="append", required=True, metavar="FILE", help="public keys that are trusted, as PEM; may be given again"
    )
    parser.add_argument(
        "--chain", type=Path, metavar="FILE", help="the namespace's records: a List of ConfigMaps as JSON, or a folder of them"
    )
    parser.add_argument(
        "--anchor",
        type=Path,
        action="append",
        metavar="FILE",
        help="what vouches for the chain: checkpoints as ConfigMaps, or the operator's log; may be given again",
    )


def verified(options: argparse.Namespace) -> Verification:
    """Read what the options name, and verify it. Raises `Mistake` for what is not there or is no key."""
    if options.anchor and options.chain is None:
        raise Mistake("--anchor vouches for a chain: give that too, with --chain FILE")
    trusted = _keys(options.key)
    published = _read("FOLDER", options.folder, read_published)
    found = Found()
    records: list[Stored] | None = None
    if options.chain is not None:
        records, found = _stored("--chain", [options.chain], read_records, Check.CHAIN)
    anchors: list[Stored | LogLine] | None = None
    if options.anchor:
        anchors, unreadable = _stored("--anchor", options.anchor, read_anchors, Check.ANCHORS)
        found += unreadable
    try:
        verification = verify(Evidence(published, trusted, records, anchors))
    except OSError as error:
        raise Mistake(f"{error.filename or options.folder}: {error.strerror}") from error
    return Verification(verification.published, verification.statement, verification.digest, verification.found + found)


def _keys(files: Iterable[Path]) -> PublicKeys:
    try:
        return public_keys_of(files)
    except KeyUnusable as error:
        raise Mistake(f"--key {error}") from error
    except OSError as error:
        raise Mistake(f"--key {error.filename}: {error.strerror}") from error


def _stored(option: str, paths: Iterable[Path], read: Callable[[Path], list[Read]], check: Check) -> tuple[list[Read], Found]:
    """What is stored there; a file that is damaged is a finding and no mistake."""
    stored: list[Read] = []
    damaged: list[Problem] = []
    for path in paths:
        try:
            stored += _read(option, path, read)
        except StoredUnreadable as error:
            damaged.append(Problem(check, path.name, str(error)))
    return stored, Found(tuple(damaged))


def _read(option: str, path: Path, read: Callable[[Path], Read]) -> Read:
    try:
        return read(path)
    except OSError as error:
        raise Mistake(f"{option} {path}: {error.strerror}") from error
