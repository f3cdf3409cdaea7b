"""The sandbox image: our own few lines of Go, built once and kept in the cache."""

import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from finetune_testbed.bed import SOURCE
from finetune_testbed.images import oci
from finetune_testbed.node import containerd
from finetune_testbed.node.layout import PAUSE_IMAGE, NodeLayout
from finetune_testbed.platform import architecture

_FOLDER = SOURCE / "pause"


def ensure(layout: NodeLayout) -> None:
    """Let the node have the sandbox image.

    Raises:
        subprocess.CalledProcessError: the program did not compile.
    """
    if containerd.has_image(layout, PAUSE_IMAGE):
        return
    containerd.import_image(layout, _archive(layout.bed.cache_dir))


def _archive(cache: Path) -> Path:
    sources = b"".join((_FOLDER / name).read_bytes() for name in ("go.mod", "main.go"))
    archive = cache / "images" / f"pause-{hashlib.sha256(sources).hexdigest()[:12]}.tar"
    if archive.exists():
        return archive
    archive.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=archive.parent, prefix="pause-") as scratch:
        tree = Path(scratch) / "tree"
        tree.mkdir()
        _compile(tree / "pause")
        layout = Path(scratch) / "layout"
        oci.write_layout(layout, tree, PAUSE_IMAGE, architecture=architecture(), entrypoint=("/pause",))
        partial = Path(scratch) / "image.tar"
        oci.write_archive(partial, layout)
        shutil.move(partial, archive)
    return archive


def _compile(target: Path) -> None:
    environment = {**os.environ, "CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOFLAGS": "", "GOWORK": "off"}
    command = ["go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", str(target), "."]
    subprocess.run(command, check=True, cwd=_FOLDER, env=environment)
