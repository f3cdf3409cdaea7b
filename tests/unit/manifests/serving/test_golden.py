"""The manifests themselves, to be read: a change of one is a change of what runs in users' clusters.

``python -m tests.unit.manifests.serving.test_golden`` writes them anew.
"""

from pathlib import Path

import pytest
import yaml

from finetune_operator.manifests.serving import JsonObject
from tests.unit.manifests.serving.samples import check, objects

GOLDEN = Path(__file__).parent / "golden"
WRITTEN = ("check", "transformers", "vllm", "merged", "namespace-with-everything")


def text_of(found: tuple[JsonObject, ...]) -> str:
    class Plain(yaml.SafeDumper):
        """Without anchors: a reader looks at one object at a time."""

        def ignore_aliases(self, data: object) -> bool:
            return True

    return yaml.dump_all(found, Dumper=Plain, sort_keys=True, width=140)


def found_of(name: str) -> tuple[JsonObject, ...]:
    return check() if name == "check" else objects()[name]


@pytest.mark.parametrize("name", WRITTEN)
def test_the_objects_are_as_they_were_read_last(name: str):
    assert text_of(found_of(name)) == (GOLDEN / f"{name}.yaml").read_text()


def test_no_golden_file_is_left_behind():
    assert {path.stem for path in GOLDEN.glob("*.yaml")} == set(WRITTEN)


if __name__ == "__main__":
    GOLDEN.mkdir(exist_ok=True)
    for golden_name in WRITTEN:
        (GOLDEN / f"{golden_name}.yaml").write_text(text_of(found_of(golden_name)))
