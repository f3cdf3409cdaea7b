"""The acts of training, each a `kubectl apply` and a look at what came of it."""

import json
from typing import Any

from rich.console import Console
from rich.markup import escape

from demo import claims
from demo.claims import start_loader, stop_loader
from demo.kubectl import Kubectl, conditions
from demo.materials import EXAMPLE, Materials
from demo.watch import JOBS, follow
from examples.show import examples_table, metrics_table


class UnexpectedOutcomeError(RuntimeError):
    """The act ended otherwise than the demo promises."""


def set_the_stage(kubectl: Kubectl, materials: Materials, trainer_image: str) -> None:
    """Namespace, claims, output schema; then model and tickets onto the claims."""
    for manifest in ("namespace.yaml", "claims.yaml", "output-schema.yaml"):
        kubectl.run("apply", "-f", str((EXAMPLE / manifest).absolute()), show=True)
    start_loader(kubectl, materials.namespace, EXAMPLE / "loader.yaml", trainer_image)
    claims.put(kubectl, materials.namespace, materials.base_model, f"/claims/models/{materials.recipe.model_folder}")
    claims.put(kubectl, materials.namespace, materials.data, "/claims/datasets/tickets")


def train(kubectl: Kubectl, materials: Materials) -> dict[str, Any]:
    """Apply the example and follow it until it is Ready."""
    return apply_and_follow(kubectl, materials, "manifest", "Ready")


def train_too_hot(kubectl: Kubectl, materials: Materials) -> dict[str, Any]:
    """Apply the hot example and follow it until its gate has refused it."""
    job = apply_and_follow(kubectl, materials, "too_hot", "Stalled")
    reason = conditions(job).get("Evaluated", {}).get("reason")
    if reason != "GateRejected":
        raise UnexpectedOutcomeError(f"{job['metadata']['name']} stalled, but with {reason} instead of GateRejected")
    return job


def apply_and_follow(kubectl: Kubectl, materials: Materials, which: str, expected: str) -> dict[str, Any]:
    """Apply one of the recipe's manifests and return the decided job; raises `UnexpectedOutcomeError`."""
    recipe = materials.recipe
    manifest = recipe.manifest if which == "manifest" else recipe.too_hot
    limit = recipe.first_act_seconds if which == "manifest" else recipe.second_act_seconds
    applied = kubectl.run("apply", "-f", str(manifest.absolute()), "-o", "json")
    kubectl.show_command("apply", "-f", str(manifest))
    name = json.loads(applied)["metadata"]["name"]
    job = follow(kubectl, materials.namespace, JOBS, name, limit)
    return expect(job, expected)


def expect(found: dict[str, Any], condition: str) -> dict[str, Any]:
    """The object, if the condition holds; raises `UnexpectedOutcomeError` with what stands there instead."""
    stated = conditions(found)
    if stated.get(condition, {}).get("status") == "True":
        return found
    ready = stated.get("Ready", {})
    raise UnexpectedOutcomeError(f"{found['metadata']['name']} ended with {ready.get('reason')}: {ready.get('message')}")


def show_result(kubectl: Kubectl, console: Console, materials: Materials, job: dict[str, Any]) -> None:
    """Base against tuned, five answers side by side, and where the adapter lies."""
    status = job["status"]
    console.print(metrics_table(status["evaluation"]))
    digest = status["artifact"]["digest"].removeprefix("sha256:")
    folder = status["artifact"]["uri"].removeprefix("pvc://")
    answers = json.loads(claims.read(kubectl, materials.namespace, f"/claims/{folder}.meta/examples.json"))
    console.print(examples_table(answers))
    console.print(f"The adapter: [bold]{escape(status['artifact']['uri'])}[/bold]\n  sha256:{digest}", highlight=False)


def show_refusal(console: Console, job: dict[str, Any]) -> None:
    """Why the gate refused, in the words of the condition."""
    console.print(metrics_table(job["status"]["evaluation"]))
    evaluated = conditions(job)["Evaluated"]
    console.print(f"[bold yellow]{evaluated['reason']}[/bold yellow]: {escape(evaluated['message'])}", highlight=False)


def clear_the_stage(kubectl: Kubectl, materials: Materials) -> None:
    stop_loader(kubectl, materials.namespace)
