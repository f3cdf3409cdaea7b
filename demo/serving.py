"""The acts after training: an adapter behind an alias, a better one rolled out under traffic, and a bad one that is taken back."""

import json
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.markup import escape

from demo.acts import UnexpectedOutcomeError, expect
from demo.kubectl import Kubectl, conditions
from demo.materials import Materials
from demo.traffic import Traffic, answer
from demo.watch import DEPLOYMENTS, JOBS, decided, follow

OUT = Path("out/demo")
BAD_MANIFEST = OUT / "adapterdeployment-too-hot.yaml"
QUESTIONS_SHOWN = 2

Object = dict[str, Any]


def questions(materials: Materials) -> list[list[dict[str, str]]]:
    """The held-out tickets, as users would send them."""
    rows = (materials.data / "held-out.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(row)["messages"][:-1] for row in rows]


def deploy(kubectl: Kubectl, materials: Materials) -> Object:
    """Apply the example's deployment as a new one, and follow it until it answers."""
    manifest = materials.recipe.deployment
    name = named(manifest)["metadata"]["name"]
    kubectl.run("delete", DEPLOYMENTS, name, "-n", materials.namespace, "--ignore-not-found", "--wait=true", "--timeout=300s")
    kubectl.run("apply", "-f", str(manifest.absolute()), show=True)
    found = follow(kubectl, materials.namespace, DEPLOYMENTS, name, materials.recipe.rollout_seconds)
    return expect(found, "Ready")


def show_answers(console: Console, url: str, deployment: Object, asked: list[list[dict[str, str]]]) -> None:
    """A few tickets and what the alias answers, as the pieces of the stream arrive."""
    model = deployment["spec"]["modelName"]
    body = json.dumps({"model": model, "stream": True, "messages": asked[0]})
    console.print(f"[bold cyan]$ curl -N {url}/v1/chat/completions -d '{escape(body[:100])}…'[/bold cyan]", highlight=False, soft_wrap=True)
    for messages in asked[:QUESTIONS_SHOWN]:
        console.print(f"[dim]{escape(messages[-1]['content'])}[/dim]", highlight=False, soft_wrap=True)
        for piece in answer(url, model, messages):
            console.print(f"[green]{escape(piece)}[/green]", end="", highlight=False)
        console.print()


def train_again(kubectl: Kubectl, materials: Materials, job: Object) -> Object:
    """Edit the job and follow it until its new adapter has passed the gate."""
    name = job["metadata"]["name"]
    patch = json.dumps({"spec": materials.recipe.edit})
    kubectl.run("patch", JOBS, name, "-n", materials.namespace, "--type=merge", "-p", patch, show=True)
    limit = materials.recipe.first_act_seconds
    again = expect(follow(kubectl, materials.namespace, JOBS, name, limit), "Ready")
    if again["status"]["artifact"]["digest"] == job["status"]["artifact"]["digest"]:
        raise UnexpectedOutcomeError(f"{name} was edited with {patch}, and its adapter is the same as before")
    return again


def follow_update(kubectl: Kubectl, materials: Materials, deployment: Object, digest: str) -> Object:
    """Follow the deployment until this adapter answers everybody."""

    def over(found: Object) -> bool:
        return decided(found) and (settled_on(found, digest) or conditions(found).get("Stalled", {}).get("status") == "True")

    name = deployment["metadata"]["name"]
    found = follow(kubectl, materials.namespace, DEPLOYMENTS, name, materials.recipe.rollout_seconds, until=over)
    return expect(found, "Ready")


def settled_on(deployment: Object, digest: str) -> bool:
    """Whether this adapter answers everybody and no rollout is under way."""
    status = deployment.get("status", {})
    return "rollout" not in status and (status.get("stable") or {}).get("digest") == digest


def roll_out_refused(kubectl: Kubectl, materials: Materials, refused: Object) -> Object:
    """Roll out what the gate refused, as somebody would who does not ask it, and follow it until it is taken back."""
    entry = refused["status"]["history"][0]
    document = named(materials.recipe.deployment)
    document["spec"]["adapter"] = {"uri": entry["artifactUri"], "digest": entry["artifactDigest"]}
    document["spec"]["preflight"] = {"requireEvaluation": False}
    BAD_MANIFEST.parent.mkdir(parents=True, exist_ok=True)
    BAD_MANIFEST.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
    kubectl.run("apply", "-f", str(BAD_MANIFEST.absolute()), show=True)
    name = document["metadata"]["name"]
    found = follow(kubectl, materials.namespace, DEPLOYMENTS, name, materials.recipe.rollout_seconds, until=taken_back_or_through)
    reason = conditions(found).get("Stalled", {}).get("reason")
    if reason != "RolledBack":
        raise UnexpectedOutcomeError(f"{name} was to take the bad adapter back, and ended with {reason or 'no complaint'}")
    return found


def taken_back_or_through(deployment: Object) -> bool:
    """Whether the bad adapter has come to any end."""
    return decided(deployment) and "rollout" not in deployment["status"]


def show_taken_back(kubectl: Kubectl, console: Console, materials: Materials, deployment: Object) -> None:
    """Which check failed with which numbers, from `kubectl describe`."""
    name = deployment["metadata"]["name"]
    kubectl.show_command("describe", "adep", "-n", materials.namespace, name)
    described = kubectl.run("describe", DEPLOYMENTS, "-n", materials.namespace, name)
    console.print("Events:" + described.rpartition("Events:")[2].rstrip(), highlight=False, markup=False, soft_wrap=True)
    ready = conditions(deployment)["Ready"]
    console.print(f"[bold yellow]{ready['reason']}[/bold yellow]: {escape(ready['message'])}", highlight=False, soft_wrap=True)


def show_requests(console: Console, traffic: Traffic, log: Path) -> None:
    """What came of the users' requests, by their own log; raises `UnexpectedOutcomeError` if one failed."""
    traffic.write(log)
    failures = traffic.failures()
    answered = ", ".join(f"{count} by {version or 'nobody we know'}" for version, count in sorted(traffic.versions().items()))
    summary = f"{len(traffic.requests)} requests, {len(failures)} failed; answered: {answered} (one line each in {log})"
    console.print(summary, highlight=False, soft_wrap=True)
    if failures:
        raise UnexpectedOutcomeError(f"{len(failures)} of {len(traffic.requests)} requests failed, the first with {failures[0].failure}")


def restore(kubectl: Kubectl, materials: Materials) -> None:
    """Back to the example as it lies in the repository: the stable version goes on answering."""
    kubectl.run("apply", "-f", str(materials.recipe.deployment.absolute()), show=True)


def named(manifest: Path) -> Object:
    document: Object = yaml.safe_load(manifest.read_text(encoding="utf-8"))
    return document
