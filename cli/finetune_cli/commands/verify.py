"""``finetune verify``: one page that says what an adapter is, and whether anybody has changed a byte since."""

import argparse
import json

from finetune_cli.command import Command
from finetune_cli.evidence import add_evidence_options, verified
from finetune_cli.page import page
from finetune_record.verification import Verification

WRONG = 1


def _add_options(parser: argparse.ArgumentParser) -> None:
    add_evidence_options(parser)
    parser.add_argument("--output", choices=("text", "json"), default="text", help="a page for people, or JSON (default: %(default)s)")


def _run(options: argparse.Namespace) -> int:
    verification = verified(options)
    print(as_json(verification) if options.output == "json" else page(verification))
    return 0 if verification.verified else WRONG


def as_json(verification: Verification) -> str:
    """The answer for programs; ``record`` is what the record claims, verified or not."""
    statement, found = verification.statement, verification.found
    answer = {
        "verified": verification.verified,
        "problems": [{"check": problem.check, "where": problem.where, "message": problem.message} for problem in found.problems],
        "checked": list(found.checked),
        "notChecked": list(found.notes),
        "recordDigest": verification.digest,
        "record": json.loads(statement.to_payload()) if statement else None,
    }
    return json.dumps(answer, indent=2)


COMMAND = Command(
    "verify", "verify an adapter's files, its signed record and its place in the chain, without cluster and network", _add_options, _run
)
