"""Where the demo runs: the testbed it starts itself, a kind cluster, or a cluster the reader has. All three give the same three things."""

import os
import shutil
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from finetune_testbed import binaries, images, lifecycle, preflight, state
from finetune_testbed.bed import Tier

BED = "demo"
KIND_CLUSTER = "finetune"
IMAGES = {"operator": "operator/Dockerfile", "trainer": "trainer_image/Dockerfile", "inference": "inference_image/Dockerfile"}
"""Name → Dockerfile of each image, in the order in which `Environment` has them."""
SAY = Callable[[str], None]
Chosen = TypeVar("Chosen")


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
    inference_image: str


def start(kind: str, image_repository: str, say: SAY) -> Environment:
    """Bring the environment up; raises `EnvironmentUnavailableError`."""
    starters = {"testbed": _testbed, "kind": _kind, "existing": _existing}
    return _known(kind, starters)(image_repository, say)


def stop(kind: str, say: SAY) -> None:
    """Take away what `start` brought, and say what was done; raises `EnvironmentUnavailableError`."""
    stoppers = {"testbed": _stop_testbed, "kind": _stop_kind, "existing": _leave_alone}
    _known(kind, stoppers)(say)


def _stop_testbed(say: SAY) -> None:
    if lifecycle.down(BED, say):
        say(f"{BED}: down")
    elif os.geteuid() == 0:
        say(f"{BED}: there is no such testbed")
    else:
        say(f"{BED}: you have no such testbed; one that root started goes with: sudo make demo-down")


def _stop_kind(say: SAY) -> None:
    _require("kind")
    _run("kind", "delete", "cluster", "--name", KIND_CLUSTER)
    say(f"kind: cluster {KIND_CLUSTER} deleted")


def _leave_alone(say: SAY) -> None:
    say(
        "an existing cluster is yours and stays as it is; to take the demo away: helm uninstall finetune-operator -n finetune-system, and "
        "kubectl delete namespace support"
    )


def _known(kind: str, among: Mapping[str, Chosen]) -> Chosen:
    if kind not in among:
        raise EnvironmentUnavailableError(f"CLUSTER={kind} is not known; use testbed, kind, or existing (with KUBECONFIG)")
    return among[kind]


def _testbed(_: str, say: SAY) -> Environment:
    cache = binaries.cache_root()
    if state.load(BED) is None and not (cache / "image-stores").exists():  # a warm cache has taken its disk already
        preflight.require_disk(preflight.inspect(cache), preflight.DISK_WITH_IMAGES, "the demo", cache)
    bed = lifecycle.up(BED, Tier.T3, say, {})
    built = {name: images.build(bed, name, say) for name in IMAGES}
    return Environment(
        kubeconfig=bed.kubeconfig,
        kubectl=str(binaries.path("kubectl", progress=say)),
        helm=str(binaries.path("helm", progress=say)),
        operator_image=built["operator"],
        trainer_image=built["trainer"],
        inference_image=built["inference"],
    )


def _kind(_: str, say: SAY) -> Environment:
    for tool in ("docker", "kind", "kubectl", "helm"):
        _require(tool)
    kubeconfig = Path("out/kind.kubeconfig").absolute()
    kubeconfig.parent.mkdir(exist_ok=True)
    if KIND_CLUSTER not in _run("kind", "get", "clusters").split():
        _run("kind", "create", "cluster", "--name", KIND_CLUSTER, "--config", "testbed/kind-config.yaml", "--kubeconfig", str(kubeconfig))
    # A cluster made from another checkout, or by hand, has its kubeconfig elsewhere.
    _run("kind", "export", "kubeconfig", "--name", KIND_CLUSTER, "--kubeconfig", str(kubeconfig))
    for name, dockerfile in IMAGES.items():
        say(f"docker build {dockerfile}")
        _run("docker", "build", "-f", dockerfile, "-t", f"finetune-{name}:demo", ".")
        _run("kind", "load", "docker-image", f"finetune-{name}:demo", "--name", KIND_CLUSTER)
    return Environment(kubeconfig, "kubectl", "helm", *(f"finetune-{name}:demo" for name in IMAGES))


def _existing(image_repository: str, _: SAY) -> Environment:
    if not image_repository:
        raise EnvironmentUnavailableError(
            "set IMAGE_REPOSITORY to a repository that your nodes can pull from, which holds "
            f"{', '.join(f'finetune-{name}:demo' for name in IMAGES)} "
            f"(docker build -f … from {', '.join(IMAGES.values())}, then docker push)"
        )
    for tool in ("kubectl", "helm"):
        _require(tool)
    named = os.environ.get("KUBECONFIG")
    if not named:
        raise EnvironmentUnavailableError("an existing cluster needs its kubeconfig: make demo KUBECONFIG=FILE IMAGE_REPOSITORY=…")
    kubeconfig = Path(named).absolute()
    if not kubeconfig.is_file():
        raise EnvironmentUnavailableError(f"KUBECONFIG names {kubeconfig}, which is not a file")
    return Environment(kubeconfig, "kubectl", "helm", *(f"{image_repository}/finetune-{name}:demo" for name in IMAGES))


def _require(tool: str) -> None:
    if shutil.which(tool) is None:
        raise EnvironmentUnavailableError(f"{tool} is not on the PATH; install it, or run plain `make demo`, which brings its own cluster")


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode != 0:
        raise EnvironmentUnavailableError(f"{' '.join(command[:3])}: {done.stderr.strip()[-500:]}")
    return done.stdout
