"""Kinds of command-line options that several commands have."""

import argparse
from pathlib import Path
from urllib.parse import urlsplit


def claim(text: str) -> tuple[str, Path]:
    """``NAME=FOLDER``: where a PersistentVolumeClaim is mounted."""
    name, separator, folder = text.partition("=")
    if not (name and separator and folder):
        raise argparse.ArgumentTypeError(f"'{text}' is not NAME=FOLDER")
    return name, Path(folder)


def positive(text: str) -> float:
    """A number above zero."""
    value = float(text)
    if not value > 0:
        raise argparse.ArgumentTypeError(f"'{text}' is not above zero")
    return value


def https_url(text: str) -> str:
    """An address without a path."""
    parts = urlsplit(text)
    if parts.scheme != "https" or not parts.hostname or parts.path.strip("/") or parts.query:
        raise argparse.ArgumentTypeError(f"'{text}' is not https://HOST:PORT")
    return text
