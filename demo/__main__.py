"""`make demo`: four acts on a real Kubernetes.

A model learns a format; another one learns badly, and its gate says no. The first is served, and its successor rolled out under traffic;
the bad one is rolled out behind its gate's back, and taken back by itself.
"""

import argparse
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from demo import acts, environment, serving
from demo.environment import Environment, EnvironmentUnavailableError
from demo.install import install
from demo.kubectl import Kubectl, KubectlError
from demo.materials import MATERIALS, Materials, prepare
from demo.stopwatch import Stopwatch
from demo.timeline import Timeline
from demo.traffic import Traffic, forwarded
from demo.watch import NotDecidedError
from examples import rollouts
from examples.models.smollm2 import ModelUnavailableError
from finetune_testbed import failures

EXPLAINED: tuple[type[Exception], ...] = (
    EnvironmentUnavailableError,
    KubectlError,
    ModelUnavailableError,
    NotDecidedError,
    acts.UnexpectedOutcomeError,
    *failures.EXPLAINED,
)
"""What its message explains to a newcomer; anything else is a defect and shows where."""


def main() -> int:
    options = parse()
    console = Console()
    watch = Stopwatch(console)
    try:
        if options.down:
            environment.stop(options.cluster, watch.say)
            return 0
        play(options, console, watch)
    except EXPLAINED as error:
        console.print(f"[bold red]demo:[/bold red] {escape(str(error))}", highlight=False, soft_wrap=True)
        return 1
    except KeyboardInterrupt:
        console.print("[bold red]demo:[/bold red] interrupted; `make demo` goes on from here, `make demo-down` clears away")
        return 130
    finally:
        if watch.parts:
            watch.print_bill()
    return 0


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument("--model", default="smollm2", choices=sorted(MATERIALS))
    parser.add_argument("--cluster", default="testbed", help="testbed (brings its own), kind, or existing (needs KUBECONFIG)")
    parser.add_argument("--image-repository", default="", help="where an existing cluster pulls our images from")
    parser.add_argument("--images-only", action="store_true", help="build the images and stop")
    parser.add_argument("--down", action="store_true", help="take the demo's cluster away")
    return parser.parse_args()


def play(options: argparse.Namespace, console: Console, watch: Stopwatch) -> None:
    """Set up, all acts, and what to do next."""
    with ThreadPoolExecutor(max_workers=2) as side_by_side:
        cluster = side_by_side.submit(start_cluster, options, watch)
        materials = None if options.images_only else side_by_side.submit(get_materials, options.model, watch)
        surroundings = cluster.result()
        if materials is None:
            return
        chosen = materials.result()
    kubectl = Kubectl(surroundings.kubectl, surroundings.kubeconfig, console)
    with watch.part("operator installed from its chart"):
        install(surroundings, watch.say)
    with watch.part("base model and tickets copied onto the cluster's claims"):
        acts.set_the_stage(kubectl, chosen, surroundings.trainer_image)
    with watch.part("first act: training, evaluation, publication"):
        ready = acts.train(kubectl, chosen)
    acts.show_result(kubectl, console, chosen, ready)
    with watch.part("second act: a learning rate too hot, refused by its gate"):
        refused = acts.train_too_hot(kubectl, chosen)
    acts.show_refusal(console, refused)
    acts.clear_the_stage(kubectl, chosen)
    serve(kubectl, console, watch, chosen, Trained(ready, refused))
    console.print(farewell(options, surroundings), highlight=False)


@dataclass(frozen=True)
class Trained:
    """The job whose adapter passed its gate, and the one whose adapter did not."""

    ready: dict[str, Any]
    refused: dict[str, Any]


def serve(kubectl: Kubectl, console: Console, watch: Stopwatch, chosen: Materials, trained: Trained) -> None:
    """The acts under traffic, and a picture of them."""
    asked = serving.questions(chosen)
    with watch.part("third act: the adapter is served"):
        deployment = serving.deploy(kubectl, chosen)
    model, name = deployment["spec"]["modelName"], deployment["metadata"]["name"]
    with forwarded(kubectl, chosen.namespace) as url:
        serving.show_answers(console, url, deployment, asked)
        traffic = Traffic(url, model, chosen.recipe.requests_per_second, asked)
        timeline = Timeline(kubectl, chosen.namespace, name)
        with watch.part("the job is edited, and trains another adapter"):
            again = serving.train_again(kubectl, chosen, trained.ready)
        with timeline.recording(), traffic.flowing():
            with watch.part("it is rolled out under traffic: shadow, 5 %, 25 %, 50 %, all"):
                serving.follow_update(kubectl, chosen, deployment, again["status"]["artifact"]["digest"])
            with watch.part("fourth act: the adapter that its gate refused is rolled out by digest, and taken back"):
                taken_back = serving.roll_out_refused(kubectl, chosen, trained.refused)
        serving.show_taken_back(kubectl, console, chosen, taken_back)
        timeline.write(serving.OUT / "timeline.json")
        serving.show_requests(console, traffic, serving.OUT / "requests.jsonl")
    serving.restore(kubectl, chosen)
    if timeline.gaps:
        console.print(f"{timeline.gaps} moments are missing in the picture: kubectl got no answer then", highlight=False)
    picture = serving.OUT / "rollouts.png"
    rollouts.draw([asdict(sample) for sample in timeline.samples], f"{model}: one adapter is rolled out, another is taken back", picture)
    console.print(f"A picture of both: [bold]{picture}[/bold]", highlight=False)


def start_cluster(options: argparse.Namespace, watch: Stopwatch) -> Environment:
    with watch.part("Kubernetes and images"):
        return environment.start(options.cluster, options.image_repository, watch.say)


def get_materials(model: str, watch: Stopwatch) -> Materials:
    with watch.part("base model and tickets"):
        return prepare(model, watch.say)


def farewell(options: argparse.Namespace, surroundings: Environment) -> str:
    kubeconfig = surroundings.kubeconfig
    shown = kubeconfig.relative_to(Path.cwd()) if kubeconfig.is_relative_to(Path.cwd()) else kubeconfig
    lines = ["", "[bold]The cluster stays up.[/bold] Look around:", f"  export KUBECONFIG={escape(str(shown))}"]
    lines += ["  kubectl get ftj -A", "  kubectl describe ftj -n support ticket-router", "  kubectl get adep -n support"]
    if options.cluster != "existing":
        which = "" if options.cluster == "testbed" else f" CLUSTER={options.cluster}"
        lines += ["and when you are done:", f"  make demo-down{which}"]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
