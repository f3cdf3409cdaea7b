"""``finetune export``: what is derived from a verified record, for other people's readers and tools."""

import argparse
import sys
from pathlib import Path

from finetune_cli.command import Command, Mistake
from finetune_cli.evidence import add_evidence_options, verified
from finetune_record.exports import FORMATS

WRONG = 1


def _add_options(parser: argparse.ArgumentParser) -> None:
    add_evidence_options(parser)
    parser.add_argument("--format", choices=tuple(FORMATS), required=True, help="what to write")
    parser.add_argument("--to", type=Path, metavar="FILE", help="where to (default: standard output)")


def _run(options: argparse.Namespace) -> int:
    verification = verified(options)
    if verification.statement is None or not verification.verified:
        for problem in verification.problems:
            print(f"finetune export: {problem}", file=sys.stderr)
        print("finetune export: nothing is derived from a record that does not verify", file=sys.stderr)
        return WRONG
    text = FORMATS[options.format](verification.statement)
    if options.to is None:
        sys.stdout.write(text)
        return 0
    try:
        options.to.write_text(text, encoding="utf-8")
    except OSError as error:
        raise Mistake(f"--to {options.to}: {error.strerror}") from error
    return 0


COMMAND = Command(
    "export", "write an Annex IV dossier, a model card, a bill of materials or lineage events from a verified record", _add_options, _run
)
