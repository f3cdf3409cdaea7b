"""Where the demo runs: the testbed it starts itself, a kind cluster, or a cluster the reader has. All three give the same three things."""

import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from finetune_testbed import binaries, images, lifecycle, preflight, state
from finetune_testbed.bed import Tier
from finetune_testbed.preflight import PreflightError

BED = "demo"
SAY = Callable[[str], None]


class EnvironmentUnavailableError(RuntimeError):
    """The chosen cluster cannot be used as things are; the message says what is missing and what to do."""


@dataclass(frozen=True)
class Environment:
    """A cluster, the tools to speak to it, and the images as its nodes know them."""

    kubeconfig: Path
    kubectl: str
    helm: str
    operator_image: str
    trainer_image: str


def start(kind: str, image_repository: str, say: SAY) -> Environment:
    """Bring the environment up; raises `EnvironmentUnavailableError`."""
    starters = {"testbed": _testbed, "kind": _kind, "existing": _existing}
    if kind not in starters:
        raise EnvironmentUnavailableError(f"CLUSTER={kind} is not known; use testbed, kind, or set KUBECONFIG")
    return starters[kind](image_repository, say)


def stop(kind: str, say: SAY) -> None:
    """Take away what `start` brought; a cluster the reader owns is left alone."""
    if kind == "testbed":
        lifecycle.down(BED, say)
    elif kind == "kind":
        _run("kind", "delete", "cluster", "--name", "finetune")


def _testbed(_: str, say: SAY) -> Environment:
    cache = binaries.cache_root()
    if state.load(BED) is None and not (cache / "image-stores").exists():  # a warm cache has taken its disk already
        try:
            preflight.require_disk(preflight.inspect(cache), preflight.DISK_WITH_IMAGES, "the demo", cache)
        except PreflightError as error:
            raise EnvironmentUnavailableError(str(error)) from error
    bed = lifecycle.up(BED, Tier.T3, say, {})
    built = {name: images.build(bed, name, say) for name in ("operator", "trainer")}
    return Environment(
        kubeconfig=bed.kubeconfig,
        kubectl=str(binaries.path("kubectl", progress=say)),
        helm=str(binaries.path("helm", progress=say)),
        operator_image=built["operator"],
        trainer_image=built["trainer"],
    )


def _kind(_: str, say: SAY) -> Environment:
    for tool in ("docker", "kind", "kubectl", "helm"):
        _require(tool)
    kubeconfig = Path("out/kind.kubeconfig").absolute()
    kubeconfig.parent.mkdir(exist_ok=True)
    if "finetune" not in _run("kind", "get", "clusters").split():
        _run("kind", "create", "cluster", "--name", "finetune", "--config", "testbed/kind-config.yaml", "--kubeconfig", str(kubeconfig))
    for name, dockerfile in (("operator", "operator/Dockerfile"), ("trainer", "trainer_image/Dockerfile")):
        say(f"docker build {dockerfile}")
        _run("docker", "build", "-f", dockerfile, "-t", f"finetune-{name}:demo", ".")
        _run("kind", "load", "docker-image", f"finetune-{name}:demo", "--name", "finetune")
    return Environment(kubeconfig, "kubectl", "helm", "finetune-operator:demo", "finetune-trainer:demo")


def _existing(image_repository: str, _: SAY) -> Environment:
    if not image_repository:
        raise EnvironmentUnavailableError(
            "set IMAGE_REPOSITORY to a repository your nodes can pull from, holding finetune-operator:demo and finetune-trainer:demo "
            "(docker build -f operator/Dockerfile … and -f trainer_image/Dockerfile …, then docker push)"
        )
    for tool in ("kubectl", "helm"):
        _require(tool)
    kubeconfig = Path(os.environ["KUBECONFIG"]).absolute()
    if not kubeconfig.is_file():
        raise EnvironmentUnavailableError(f"KUBECONFIG names {kubeconfig}, which is not a file")
    images_there = [f"{image_repository}/finetune-{name}:demo" for name in ("operator", "trainer")]
    return Environment(kubeconfig, "kubectl", "helm", *images_there)


def _require(tool: str) -> None:
    if shutil.which(tool) is None:
        raise EnvironmentUnavailableError(f"{tool} is not on the PATH; install it, or run plain `make demo`, which brings its own cluster")


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode != 0:
        raise EnvironmentUnavailableError(f"{' '.join(command[:3])}: {done.stderr.strip()[-500:]}")
    return done.stdout
