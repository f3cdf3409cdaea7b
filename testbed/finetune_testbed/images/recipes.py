"""What each of our images is made of, and the key that says whether one that exists is still right."""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = "finetune.dev"


class UnknownImageError(ValueError):
    """There is no recipe of this name."""


@dataclass(frozen=True)
class Recipe:
    """One image: its Dockerfile, and the files of the repository that get into it.

    `inputs` repeats what `Dockerfile.dockerignore` lets through, so that a changed file means a new key.
    """

    name: str
    dockerfile: str
    inputs: tuple[str, ...]

    @property
    def repository(self) -> str:
        return f"{REPOSITORY}/{self.name}"


_SHARED = ("pyproject.toml", "hack/image_metadata.py", "requirements/uv.txt")
RECIPES = {
    recipe.name: recipe
    for recipe in (
        Recipe(
            "operator",
            "operator/Dockerfile",
            (
                *_SHARED,
                "requirements/operator.txt",
                "trainer_image/finetune_trainer/__init__.py",
                "trainer_image/finetune_trainer/contract",
                "inference_image/finetune_inference/__init__.py",
                "inference_image/finetune_inference/contract",
                "inference_image/finetune_inference/engine",
                "record/finetune_record",
                "operator/finetune_operator",
            ),
        ),
        Recipe(
            "trainer",
            "trainer_image/Dockerfile",
            (*_SHARED, "requirements/trainer.txt", "requirements/names.txt", "trainer_image/finetune_trainer"),
        ),
        Recipe(
            "inference",
            "inference_image/Dockerfile",
            (
                *_SHARED,
                "requirements/trainer.txt",
                "requirements/inference.txt",
                "trainer_image/finetune_trainer/__init__.py",
                "trainer_image/finetune_trainer/contract",
                "record/finetune_record",
                "inference_image/finetune_inference",
            ),
        ),
    )
}


def find(name: str) -> Recipe:
    """The recipe of this name.

    Raises:
        UnknownImageError: there is none; the message lists those there are.
    """
    if name not in RECIPES:
        raise UnknownImageError(f"there is no image {name!r}; known: {', '.join(sorted(RECIPES))}")
    return RECIPES[name]


def content_key(recipe: Recipe, root: Path, base_digest: str) -> str:
    """Hash over every input's path, mode and content, as 12 hex digits."""
    digest = hashlib.sha256(base_digest.encode())
    for path in files(root, (recipe.dockerfile, f"{recipe.dockerfile}.dockerignore", *recipe.inputs)):
        mode = path.stat().st_mode & 0o111
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        digest.update(f"{path.relative_to(root)}\0{mode}\0{content}\n".encode())
    return digest.hexdigest()[:12]


def files(root: Path, inputs: Iterable[str]) -> Iterator[Path]:
    """All files at or under the inputs, in a fixed order, without compiled Python."""
    for name in inputs:
        start = root / name
        if start.is_file():
            yield start
            continue
        for path in sorted(start.rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                yield path
