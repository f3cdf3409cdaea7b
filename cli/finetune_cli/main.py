"""``finetune COMMAND``. Each command is a module of `commands` and is named in `COMMANDS`.

Exit codes: 0 it holds, 1 it does not (and the output says why), 2 it could not be asked (and standard error says why).
"""

import argparse
import importlib.metadata
import sys
from collections.abc import Sequence
from typing import NoReturn

from finetune_cli.command import Command, Mistake
from finetune_cli.commands import anchors, export, plan, verify

COMMANDS: tuple[Command, ...] = (plan.COMMAND, verify.COMMAND, export.COMMAND, anchors.COMMAND)
MISTAKE = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code. Raises ``SystemExit`` for help, version and mistakes of usage (2)."""
    parser = argparse.ArgumentParser(prog="finetune", description="Governed fine-tuning: ask before, prove afterwards.")
    parser.add_argument("--version", action="version", version=f"finetune {importlib.metadata.version('finetune-operator')}")
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command in COMMANDS:
        below = subparsers.add_parser(command.name, help=command.purpose, description=command.purpose)
        command.add_options(below)
        below.set_defaults(run=command.run)
    read = parser.parse_args(arguments)
    try:
        return int(read.run(read))
    except Mistake as mistake:
        print(f"finetune {read.command}: {mistake}", file=sys.stderr)
        return MISTAKE


def program() -> NoReturn:
    """The installed command."""
    sys.exit(main())


if __name__ == "__main__":
    program()
