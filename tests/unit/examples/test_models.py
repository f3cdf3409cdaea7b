import json
import random
from pathlib import Path

import pytest

from examples import tickets
from examples.models import tiny_base
from examples.models.cache import made_once, recipe_digest


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FINETUNE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def write_weights(folder: Path) -> None:
    (folder / "weights").write_text("w")


def test_a_model_is_made_once(cache: Path) -> None:
    made: list[Path] = []

    def make(folder: Path) -> None:
        made.append(folder)
        write_weights(folder)

    folders = [made_once("m", "r1", make, lambda line: None) for _ in range(2)]
    assert len(made) == 1
    assert folders[0] == folders[1] == cache / "models" / "m-r1"
    assert (folders[0] / "weights").read_text() == "w"


def test_another_recipe_is_another_model(cache: Path) -> None:
    assert made_once("m", "r1", write_weights, lambda line: None) != made_once("m", "r2", write_weights, lambda line: None)


def test_an_interrupted_making_leaves_nothing_that_looks_finished(cache: Path) -> None:
    def make(folder: Path) -> None:
        write_weights(folder)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        made_once("m", "r1", make, lambda line: None)
    assert list((cache / "models").iterdir()) == []


def test_of_two_makers_at_once_the_slower_one_takes_the_others_result(cache: Path) -> None:
    def make(folder: Path) -> None:
        if not (cache / "models" / "m-r1").exists():
            (cache / "models" / "m-r1").mkdir()
            (cache / "models" / "m-r1" / "weights").write_text("faster")
        write_weights(folder)

    folder = made_once("m", "r1", make, lambda line: None)
    assert (folder / "weights").read_text() == "faster"
    assert list((cache / "models").iterdir()) == [folder]


def test_the_recipe_changes_with_its_source(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("1")
    before = recipe_digest([tmp_path / "a"])
    (tmp_path / "a").write_text("2")
    assert recipe_digest([tmp_path / "a"]) != before


def test_the_tiny_base_never_sees_a_routing_object_but_sees_its_words() -> None:
    rng = random.Random(1)
    conversations = [tiny_base.conversation(rng) for _ in range(2000)]
    answers = [messages[-1]["content"] for messages in conversations]
    objects = [json.loads(answer) for answer in answers if answer.startswith("{")]
    assert len(objects) > 100
    assert not any({"category", "priority", "escalate"} <= set(found) for found in objects)
    assert {"category", "priority", "escalate"} <= {key for found in objects for key in found}
    assert any(messages[0]["content"] == tickets.SYSTEM for messages in conversations)
