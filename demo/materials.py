"""What the demo needs besides a cluster: a base model, tickets, and the manifests of all acts, for each of the two sizes."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

EXAMPLE = Path("examples/ticket-routing")
NAMESPACE = "support"


@dataclass(frozen=True)
class Recipe:
    """One size of the demo: which model is prepared by which module, and which manifests go with it."""

    module: str
    model_folder: str
    manifest: Path
    too_hot: Path
    deployment: Path
    edit: dict[str, Any]
    """What is changed in the job's spec to get a second adapter: a little less training, which its gate lets pass."""
    requests_per_second: float
    first_act_seconds: float
    second_act_seconds: float
    rollout_seconds: float = 600


@dataclass(frozen=True)
class Materials:
    """Everything on disk and ready."""

    recipe: Recipe
    base_model: Path
    data: Path
    namespace: str = NAMESPACE


MATERIALS = {
    "smollm2": Recipe(
        module="examples.models.smollm2",
        model_folder="smollm2-135m-instruct",
        manifest=EXAMPLE / "finetunejob.yaml",
        too_hot=EXAMPLE / "finetunejob-too-hot.yaml",
        deployment=EXAMPLE / "adapterdeployment.yaml",
        edit={"training": {"maxSteps": 16}},
        requests_per_second=2.5,
        first_act_seconds=1500,
        second_act_seconds=1500,
    ),
    "tiny": Recipe(
        module="examples.models.tiny_base",
        model_folder="tiny-chat",
        manifest=EXAMPLE / "finetunejob-tiny.yaml",
        too_hot=EXAMPLE / "finetunejob-tiny-too-hot.yaml",
        deployment=EXAMPLE / "adapterdeployment-tiny.yaml",
        edit={"training": {"epochs": "1.5"}},
        requests_per_second=6,
        first_act_seconds=900,
        second_act_seconds=900,
    ),
}


def prepare(model: str, say: Callable[[str], None]) -> Materials:
    """Make or find the base model in the cache; the tickets lie beside the manifests."""
    recipe = MATERIALS[model]
    folder = importlib.import_module(recipe.module).ensure(say)
    return Materials(recipe=recipe, base_model=Path(folder), data=EXAMPLE / "data")
