"""The base system of our images, where no registry can be asked for it.

`FROM debian:bookworm-slim` in the project's Dockerfiles means the published image on any other builder. Here the
same distribution is put together from Debian packages by debootstrap, with the Python that the Dockerfiles would
otherwise install from the same packages.
"""

import hashlib
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from finetune_testbed import locks
from finetune_testbed.images import oci

REFERENCE = "docker.io/library/debian:bookworm-slim"
SUITE = "bookworm"
PACKAGES = ("ca-certificates", "python3", "python3-venv")
LEFT_OUT = ("usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/info", "var/lib/apt/lists", "var/cache/apt", "var/log")
_RECIPE = "1"
LOG_LINES = 15


class BaseImageError(RuntimeError):
    """The Debian packages of the base system could not be had; the message shows why."""


@dataclass(frozen=True)
class BaseImage:
    """An OCI layout on disk and the digest of its only manifest."""

    layout: Path
    digest: str


def ensure(cache: Path, architecture: str, progress: Callable[[str], None]) -> BaseImage:
    """Return the base image, made on the first call (about a minute) and kept in the cache.

    Raises:
        BaseImageError: debootstrap failed; the message ends with its last lines.
        subprocess.CalledProcessError: tar failed.
    """
    key = hashlib.sha256("\n".join((_RECIPE, SUITE, architecture, *PACKAGES, *LEFT_OUT)).encode()).hexdigest()[:12]
    layout = cache / "images" / f"base-{key}"
    marker = layout / "digest"
    if marker.exists():
        return BaseImage(layout, marker.read_text())
    with locks.held(cache / "locks" / "base-image.lock", lambda: progress("base image: another process makes it")):
        if not marker.exists():
            progress("base image: collecting Debian packages (about a minute, once)")
            unfinished = layout.with_suffix(".partial")
            unfinished.write_text(_make(layout, architecture))
            unfinished.replace(marker)
        return BaseImage(layout, marker.read_text())


def _make(layout: Path, architecture: str) -> str:
    layout.parent.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(layout, ignore_errors=True)
    with tempfile.TemporaryDirectory(dir=layout.parent, prefix="base-") as scratch:
        tree = Path(scratch) / "tree"
        tree.mkdir(mode=0o755)
        _bootstrap(tree, layout.parent / "debootstrap.log")
        _strip(tree)
        return oci.write_layout(
            layout,
            tree,
            REFERENCE,
            architecture=architecture,
            environment=("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",),
        )


def _bootstrap(tree: Path, log: Path) -> None:
    command = ["debootstrap", "--variant=minbase", f"--include={','.join(PACKAGES)}", SUITE, str(tree)]
    mirror = _host_mirror()
    if mirror:
        command.append(mirror)
    with log.open("w") as output:
        done = subprocess.run(command, check=False, stdout=output, stderr=subprocess.STDOUT)
    if done.returncode:
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-LOG_LINES:])
        raise BaseImageError(f"the base image could not be made, debootstrap ended with {done.returncode}:\n--- {log}\n{tail}")


def _host_mirror() -> str:
    """The archive this host itself installs the suite from, so that a private mirror is honoured; else empty."""
    listing = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(CODENAME) $(COMPONENT) $(REPO_URI)", "Created-By: Packages"],
        check=False,
        capture_output=True,
        text=True,
    )
    for line in listing.stdout.splitlines():
        codename, component, address = line.split(" ", 2)
        if codename == SUITE and component == "main":
            return address
    return ""


def _strip(tree: Path) -> None:
    """Leave out what the published slim image leaves out too; packages refuse to install without these folders."""
    for name in LEFT_OUT:
        for entry in (tree / name).glob("*"):
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink()
    (tree / "var/cache/apt/archives/partial").mkdir(parents=True)
    (tree / "var/lib/apt/lists/partial").mkdir(parents=True)
