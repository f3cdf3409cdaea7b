"""Install the operator as a platform team would: its chart, its values, Helm's own waiting."""

import subprocess
from pathlib import Path

from demo.environment import SAY, Environment, EnvironmentUnavailableError

CHART = Path("charts/finetune-operator")
RELEASE = "finetune-operator"
NAMESPACE = "finetune-system"


def install(surroundings: Environment, say: SAY, *further: str) -> None:
    """Install or upgrade the release with serving, and wait until both replicas are ready; ``further`` are values for `--set`."""
    arguments = ["upgrade", "--install", RELEASE, str(CHART), "--namespace", NAMESPACE, "--create-namespace", "--wait", "--timeout", "5m"]
    images = {
        "image": surroundings.operator_image,
        "trainer.image": surroundings.trainer_image,
        "serving.image": surroundings.inference_image,
    }
    for value in (value for prefix, image in images.items() for value in image_values(prefix, image)):
        arguments += ["--set-string", value]
    for value in ("serving.enabled=true", *further):
        arguments += ["--set", value]
    say(f"$ helm {' '.join(arguments[:3])} {CHART} --namespace {NAMESPACE} …")
    done = subprocess.run(  # noqa: S603
        [surroundings.helm, "--kubeconfig", str(surroundings.kubeconfig), *arguments], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise EnvironmentUnavailableError(f"helm could not install the chart: {done.stderr.strip()[-800:]}")


def image_values(prefix: str, reference: str) -> list[str]:
    """Chart values that name an image; a digest wins over a tag."""
    repository, _, digest = reference.partition("@")
    name, colon, tag = repository.rpartition(":")
    if not colon or "/" in tag:
        name, tag = repository, ""
    values = [f"{prefix}.repository={name}"]
    if tag:
        values.append(f"{prefix}.tag={tag}")
    if digest:
        values.append(f"{prefix}.digest={digest}")
    return values
