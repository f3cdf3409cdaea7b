"""The key of an image changes with what gets into it, and with nothing else."""

import shutil
from pathlib import Path

import pytest

from finetune_testbed import images
from finetune_testbed.images import recipes


@pytest.mark.parametrize("name", sorted(recipes.RECIPES))
def test_a_changed_input_means_a_new_key_and_anything_else_does_not(name: str, tmp_path: Path) -> None:
    recipe = recipes.find(name)
    root = tmp_path / "checkout"
    for path in recipes.files(images.ROOT, (recipe.dockerfile, f"{recipe.dockerfile}.dockerignore", *recipe.inputs)):
        copy = root / path.relative_to(images.ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, copy)
    key = recipes.content_key(recipe, root, "sha256:0")
    assert key == recipes.content_key(recipe, images.ROOT, "sha256:0")
    (root / "README.md").write_text("not part of any image")
    assert recipes.content_key(recipe, root, "sha256:0") == key
    changed = root / "trainer_image/finetune_trainer/contract/__init__.py"
    changed.write_text(changed.read_text() + "\n# one more line\n")
    assert recipes.content_key(recipe, root, "sha256:0") != key
    assert recipes.content_key(recipe, root, "sha256:1") != key


@pytest.mark.parametrize("name", sorted(recipes.RECIPES))
def test_the_key_covers_what_the_build_may_see(name: str) -> None:
    recipe = recipes.find(name)
    ignore = (images.ROOT / f"{recipe.dockerfile}.dockerignore").read_text().splitlines()
    assert {line.removeprefix("!") for line in ignore if line.startswith("!")} == set(recipe.inputs)


def test_an_unknown_image_is_refused_with_those_there_are() -> None:
    with pytest.raises(recipes.UnknownImageError, match="known: inference, operator, trainer"):
        recipes.find("server")


def test_trainer_and_inference_image_share_every_instruction_up_to_the_trainers_dependencies() -> None:
    """Equal instructions over equal inputs are one layer, and that one has 5.8 GB."""
    trainer, inference = (_instructions(recipes.find(name).dockerfile) for name in ("trainer", "inference"))
    shared = next(number for number, text in enumerate(trainer) if "requirements/trainer.txt" in text) + 1
    assert inference[:shared] == trainer[:shared]


def test_the_inference_image_keeps_every_package_of_the_trainer_as_it_is() -> None:
    """A package of another version would be a second copy in the layer above."""
    trainer, inference = (_pins(f"requirements/{name}.txt") for name in ("trainer", "inference"))
    assert trainer <= inference


def test_what_looks_for_names_adds_packages_to_the_trainers_and_changes_none() -> None:
    trainer, names = (_pins(f"requirements/{name}.txt") for name in ("trainer", "names"))
    known = {pin.split("==")[0] for pin in trainer}
    assert {pin for pin in names - trainer if pin.split("==")[0] in known} == set()
    assert {"presidio-analyzer", "spacy"} <= {pin.split("==")[0] for pin in names} - known


def _instructions(dockerfile: str) -> list[str]:
    lines = [line for line in (images.ROOT / dockerfile).read_text().splitlines() if line and not line.startswith("#")]
    return "\n".join(lines).replace("\\\n", " ").split("\n")


def _pins(requirements: str) -> set[str]:
    lines = (images.ROOT / requirements).read_text().splitlines()
    return {line.split()[0] for line in lines if "==" in line and not line.startswith((" ", "#"))}
