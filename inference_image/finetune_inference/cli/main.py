"""The image's entry point: ``finetune-inference COMMAND``. Each command is a module here with a ``main(arguments) -> exit code``."""

import argparse
import importlib
import importlib.metadata
import resource
import sys
from collections.abc import Sequence

COMMANDS: dict[str, str] = {
    "route": "answer for aliases: send each request to a version of an adapter, and measure it",
    "agent": "keep an engine holding the adapter versions that are wanted",
    "preflight": "can this artifact be served? Asked before any server pod is touched",
    "serve": "a base model and its adapters behind the OpenAI API",
}
"""Command and purpose; the module of a command is imported when it is asked for, since some of them import torch."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    parser = argparse.ArgumentParser(
        prog="finetune-inference", description="Serve adapters: the server, its router, and what is beside them."
    )
    parser.add_argument("--version", action="version", version=f"finetune-inference {version()}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, purpose in COMMANDS.items():
        commands.add_parser(name, help=purpose, add_help=False)
    command = parser.parse_args(given[:1]).command
    module = importlib.import_module(f"finetune_inference.cli.{command}")
    return int(module.main(given[1:]))


def version() -> str:
    """Of the installed package; a source tree on the path, as beside a machine's own libraries, has none."""
    try:
        return importlib.metadata.version("finetune-operator")
    except importlib.metadata.PackageNotFoundError:
        return "(not installed)"


def leave_no_core() -> None:
    """A core holds prompts, answers and keys, and goes wherever the node collects them; for this process and those it starts."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def program() -> None:
    """The console script."""
    leave_no_core()
    sys.exit(main())


if __name__ == "__main__":
    program()
