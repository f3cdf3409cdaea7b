"""Programs of the testbed, built from pinned Go modules once and kept outside the work tree.

Every program comes from a wrapper module in `testbed/modules/` whose `go.mod` and `go.sum` are committed, so that two
machines build the same sources. The cache key is a hash of those files, the flags and the Go version.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from finetune_testbed import locks
from finetune_testbed.bed import SOURCE, Tier

Progress = Callable[[str], None]

BUILD_FLAGS = ("-mod=readonly", "-trimpath", "-buildvcs=false")
KUBE_VERSION_PACKAGES = ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")


class BinariesError(RuntimeError):
    """A program could not be had; the message says what to do."""


@dataclass(frozen=True)
class Program:
    """One program: `package` is its main package inside the wrapper module `testbed/modules/MODULE`."""

    name: str
    module: str
    package: str


PROGRAMS: Mapping[str, Program] = {
    program.name: program
    for program in (
        Program("etcd", "etcd", "go.etcd.io/etcd/server/v3"),
        *(
            Program(name, "kube", f"k8s.io/kubernetes/cmd/{name}")
            for name in (
                "kube-apiserver",
                "kubectl",
                "kube-controller-manager",
                "kube-scheduler",
                "kubelet",
                "kube-proxy",
            )
        ),
        Program("kwok", "kwok", "sigs.k8s.io/kwok/cmd/kwok"),
        Program("coredns", "coredns", "github.com/coredns/coredns"),
        Program("buildkitd", "buildkit", "github.com/moby/buildkit/cmd/buildkitd"),
        Program("buildctl", "buildkit", "github.com/moby/buildkit/cmd/buildctl"),
        Program("helm", "helm", "helm.sh/helm/v4/cmd/helm"),
        Program("versitygw", "versitygw", "github.com/versity/versitygw/cmd/versitygw"),
    )
}

TOOLS = ("versitygw",)
"""Beside the tiers: an S3 server with object lock, for checkpoints of records."""

_CONTROL_PLANE = ("etcd", "kube-apiserver", "kubectl")
_CONTROLLERS = ("kube-controller-manager", "kube-scheduler")
TIER_PROGRAMS: Mapping[Tier, tuple[str, ...]] = {
    Tier.T1: _CONTROL_PLANE,
    Tier.T2: (*_CONTROL_PLANE, *_CONTROLLERS, "kwok"),
    Tier.T3: (*_CONTROL_PLANE, *_CONTROLLERS, "kubelet", "kube-proxy", "coredns"),
}


def cache_root(environment: Mapping[str, str] = os.environ) -> Path:
    """FINETUNE_TESTBED_CACHE, else the user's cache folder."""
    if chosen := environment.get("FINETUNE_TESTBED_CACHE"):
        return Path(chosen).expanduser().absolute()
    base = environment.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser().absolute() / "finetune-testbed"


def ensure(names: Iterable[str], cache: Path, progress: Progress) -> dict[str, Path]:
    """Paths of the programs named, building what is missing; silent when nothing is.

    Raises:
        BinariesError: Go is missing or too old, or a build failed.
    """
    names = list(names)
    found = {name: path for name in names if (path := find(name, cache))}
    absent = [name for name in names if name not in found]
    for name in absent:
        _go_version(PROGRAMS[name])  # before the first build, which takes minutes
    for number, name in enumerate(absent, start=1):
        found[name] = _build(PROGRAMS[name], cache, partial(_say_numbered, progress, f"[{number}/{len(absent)}] "))
    return found


def missing(names: Iterable[str], cache: Path) -> list[str]:
    """Which of the programs would have to be built."""
    return [name for name in names if find(name, cache) is None]


def find(name: str, cache: Path) -> Path | None:
    """A program that is there already, or None."""
    return _provided(PROGRAMS[name]) or _cached(PROGRAMS[name], cache)


def path(name: str, cache: Path | None = None, progress: Progress = print) -> Path:
    """One program, built if need be."""
    return ensure([name], cache or cache_root(), progress)[name]


def build_key(program: Program, go_version: str) -> str:
    """What decides the bytes of a program, as 16 hex digits."""
    digest = hashlib.sha256()
    for part in (*_module_files(program.module), *BUILD_FLAGS, *link_flags(program), program.package, go_version):
        digest.update(part.encode())
        digest.update(b"\0")
    return digest.hexdigest()[:16]


def link_flags(program: Program) -> tuple[str, ...]:
    """Linker flags: no symbol table, and the version where the program looks for it.

    Without a version Kubernetes reports v0.0.0-master, which clients and charts that ask for a minimum refuse.
    """
    flags = ["-s", "-w"]
    if program.module == "kube":
        version = module_version(program.module, "k8s.io/kubernetes")
        major, minor = version.lstrip("v").split(".")[:2]
        # A published module does not name its commit; the version does, and user agents show the first letters of it.
        stamps = {"gitVersion": version, "gitMajor": major, "gitMinor": minor, "gitCommit": version, "gitTreeState": "archive"}
        flags += [f"-X={package}.{key}={value}" for package in KUBE_VERSION_PACKAGES for key, value in stamps.items()]
    elif program.module == "kwok":
        flags.append(f"-X=sigs.k8s.io/kwok/pkg/consts.Version={module_version('kwok', 'sigs.k8s.io/kwok')}")
    elif program.module == "helm":
        flags.append(f"-X=helm.sh/helm/v4/internal/version.version={module_version('helm', 'helm.sh/helm/v4')}")
    elif program.module == "versitygw":
        flags.append(f"-X=main.Version={module_version('versitygw', 'github.com/versity/versitygw')}")
    elif program.module == "buildkit":
        version = module_version("buildkit", "github.com/moby/buildkit")
        flags.append(f"-X=github.com/moby/buildkit/version.Version={version}")
    return tuple(flags)


def module_version(module: str, path: str) -> str:
    """The pinned version of a Go module, from the wrapper's go.mod."""
    match = re.search(rf"^(?:require|\t)\s*{re.escape(path)} (v\S+)", _module_files(module)[0], re.MULTILINE)
    if match is None:
        raise BinariesError(f"{SOURCE / 'modules' / module / 'go.mod'} does not require {path}")
    return match.group(1)


def _say_numbered(progress: Progress, prefix: str, text: str) -> None:
    progress(prefix + text)


def _module_files(module: str) -> tuple[str, str]:
    folder = SOURCE / "modules" / module
    if not folder.is_dir():
        raise BinariesError(f"{folder} is missing: the testbed runs from a checkout of the repository")
    return (folder / "go.mod").read_text(), (folder / "go.sum").read_text()


def _provided(program: Program) -> Path | None:
    """From KUBEBUILDER_ASSETS, the convention of envtest, where it names a folder with a whole control plane."""
    folder = os.environ.get("KUBEBUILDER_ASSETS")
    if not folder or program.name not in _CONTROL_PLANE:
        return None
    if not all(os.access(Path(folder, name), os.X_OK) for name in _CONTROL_PLANE):
        return None
    return Path(folder, program.name).absolute()


def _cached(program: Program, cache: Path) -> Path | None:
    """A finished build. The index spares a warm start the question to `go`, and works where Go is gone again."""
    folder = cache / "bin"
    for candidate in sorted(folder.glob(f"{program.module}-*/{program.name}")):
        stamp = candidate.with_suffix(".go")
        if stamp.exists() and candidate.parent.name == f"{program.module}-{build_key(program, stamp.read_text())}":
            return candidate
    return None


def _build(program: Program, cache: Path, progress: Progress) -> Path:
    go_version = _go_version(program)
    with locks.held(cache / "locks" / f"{program.module}.lock", lambda: progress(f"{program.name}: another build runs")):
        if done := _cached(program, cache):
            return done
        target = cache / "bin" / f"{program.module}-{build_key(program, go_version)}" / program.name
        target.parent.mkdir(parents=True, exist_ok=True)
        unfinished = target.with_name(f".{program.name}.partial")
        progress(f"{program.name}: building {program.package} (minutes with cold caches)")
        began = time.monotonic()
        built = subprocess.run(
            ["go", "build", *BUILD_FLAGS, "-ldflags", " ".join(link_flags(program)), "-o", unfinished, program.package],
            cwd=SOURCE / "modules" / program.module,
            env=_go_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if built.returncode:
            lines = "\n".join(built.stdout.splitlines()[-20:])
            raise BinariesError(f"go build of {program.package} failed (testbed/modules/{program.module}):\n{lines}")
        target.with_suffix(".go").write_text(go_version)
        unfinished.replace(target)
        megabytes = target.stat().st_size / 1e6
        progress(f"{program.name}: built in {time.monotonic() - began:.0f} s ({megabytes:.0f} MB)")
        return target


def _go_environment() -> dict[str, str]:
    # GOTOOLCHAIN=local: a dependency that asks for a newer Go must fail here, not download a toolchain.
    return {**os.environ, "GOTOOLCHAIN": "local", "CGO_ENABLED": "0", "GOFLAGS": "", "GOWORK": "off"}


def _go_version(program: Program) -> str:
    """The version of the installed Go, such as go1.26.8.

    Raises:
        BinariesError: there is none, or it is older than the module asks for.
    """
    needed = re.search(r"^go (\S+)$", _module_files(program.module)[0], re.MULTILINE)
    least = needed.group(1) if needed else "1.26.0"
    remedy = f"Install Go {least} or newer (https://go.dev/doc/install) and see that `go` is on PATH."
    if shutil.which("go") is None:
        raise BinariesError(f"{program.name} has to be built and no `go` command was found. {remedy}")
    answer = subprocess.run(["go", "env", "GOVERSION"], env=_go_environment(), capture_output=True, text=True, check=True).stdout.strip()
    if _numbers(answer) < _numbers(least):
        raise BinariesError(f"{program.name} needs Go {least} and `go` is {answer}. {remedy}")
    return answer


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:3])
