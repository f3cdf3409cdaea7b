"""What a command is."""

import argparse
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Command:
    """``run`` gets the parsed options and returns the exit code; it may raise `Mistake`."""

    name: str
    purpose: str
    add_options: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]


class Mistake(Exception):
    """The question cannot be asked so; the message says what to change."""
