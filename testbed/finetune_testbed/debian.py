"""Programs that come from the distribution: named when missing, then installed where there is apt."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from finetune_testbed.bed import Tier

SBIN = ("/usr/local/sbin", "/usr/sbin", "/sbin")
"""Where Debian keeps programs of administrators; `su` and some containers leave these folders out of PATH."""


class PackagesError(RuntimeError):
    """Something is missing that only the user can install; the message names it."""


@dataclass(frozen=True)
class Requirement:
    """A package and the file that proves it: a command name, or an absolute path."""

    package: str
    proof: str

    def is_met(self) -> bool:
        if self.proof.startswith("/"):
            return Path(self.proof).exists()
        return shutil.which(self.proof) is not None


_KEYS = (Requirement("openssl", "openssl"),)
_NODE = (
    Requirement("containerd", "containerd"),
    Requirement("runc", "runc"),
    Requirement("containernetworking-plugins", "/usr/lib/cni/bridge"),
    Requirement("iptables", "iptables"),
    Requirement("nftables", "nft"),
    Requirement("iproute2", "ip"),
    Requirement("conntrack", "conntrack"),
    Requirement("util-linux", "nsenter"),
    Requirement("mount", "mount"),
    Requirement("e2fsprogs", "mkfs.ext4"),
)
TIER_REQUIREMENTS: Mapping[Tier, tuple[Requirement, ...]] = {Tier.T1: _KEYS, Tier.T2: _KEYS, Tier.T3: (*_KEYS, *_NODE)}

IMAGE_REQUIREMENTS = (
    Requirement("debootstrap", "debootstrap"),
    Requirement("runc", "runc"),
    Requirement("ca-certificates", "/etc/ssl/certs/ca-certificates.crt"),
)
PROMTOOL_REQUIREMENTS = (Requirement("prometheus", "promtool"),)


def reach_sbin() -> None:
    """Let this process and all that it starts find the programs of administrators."""
    present = os.environ.get("PATH", os.defpath).split(os.pathsep)
    os.environ["PATH"] = os.pathsep.join([*present, *(folder for folder in SBIN if folder not in present)])


def missing(requirements: Iterable[Requirement]) -> list[Requirement]:
    return [requirement for requirement in requirements if not requirement.is_met()]


def ensure(requirements: Iterable[Requirement], progress: Callable[[str], None]) -> None:
    """Install what is missing, naming it first; nothing when all is there.

    Raises:
        PackagesError: there is no apt, the caller is not root, or the installation failed.
    """
    reach_sbin()
    absent = missing(requirements)
    if not absent:
        return
    packages = sorted({requirement.package for requirement in absent})
    listing = " ".join(packages)
    if shutil.which("apt-get") is None:
        proofs = ", ".join(requirement.proof for requirement in absent)
        raise PackagesError(f"Missing: {proofs}. There is no apt-get here; install what your system calls {listing}.")
    if os.geteuid() != 0:
        raise PackagesError(f"Missing Debian packages: {listing}. Install them: sudo apt-get install {listing}")
    progress(f"Debian packages to install: {listing}")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for arguments in (("update", "-qq"), ("install", "-qq", "-y", "--no-install-recommends", *packages)):
        done = subprocess.run(
            ["apt-get", *arguments],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if done.returncode:
            lines = "\n".join(done.stdout.splitlines()[-15:])
            raise PackagesError(f"apt-get {' '.join(arguments)} failed:\n{lines}")
    if still := missing(absent):
        raise PackagesError(f"Installed, but still not found: {', '.join(r.proof for r in still)}")
