"""Configuration files of the node's programs, rewritten only when they change: kube-proxy ends when its file is touched."""

import hashlib
from pathlib import Path

from finetune_testbed.node.layout import NodeLayout


def write(layout: NodeLayout, name: str, text: str) -> Path:
    """Let the file hold this text; returns its path."""
    path = layout.config / name
    if not path.exists() or path.read_text() != text:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return path


def mark(path: Path) -> dict[str, str]:
    """An environment variable that changes with the file, so that a program with an older configuration is replaced."""
    return {"FINETUNE_TESTBED_CONFIGURATION": hashlib.sha256(path.read_bytes()).hexdigest()[:16]}
