"""What a reader copies from docs/serving/five-minutes.md fits the kinds, the example and each other."""

import ast
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from finetune_operator.api.adapterdeployment.deployment import AdapterDeployment
from finetune_operator.api.finetunejob import FineTuneJob

ROOT = Path(__file__).parents[3]
TEXT = (ROOT / "docs/serving/five-minutes.md").read_text(encoding="utf-8")
EXAMPLES = ROOT / "examples/ticket-routing"
KINDS = {"adep": (AdapterDeployment, "adapterdeployment.yaml"), "ftj": (FineTuneJob, "finetunejob.yaml")}
PATCHES = re.findall(r"kubectl patch (adep|ftj) ticket-router -n support --type merge -p (?:'([^']+)'|\"((?:\\.|[^\"\\])+)\")", TEXT)
DIGEST = "sha256:" + "a" * 64


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", TEXT, re.DOTALL)


def merged(document: Any, patch: Any) -> Any:
    """RFC 7386."""
    if not isinstance(patch, dict):
        return patch
    result = dict(document) if isinstance(document, dict) else {}
    for name, value in patch.items():
        result[name] = merged(result.get(name), value)
    return {name: value for name, value in result.items() if value is not None}


def test_the_manifest_is_that_of_the_example() -> None:
    (shown,) = blocks("yaml")
    assert yaml.safe_load(shown) == yaml.safe_load((EXAMPLES / "adapterdeployment.yaml").read_text(encoding="utf-8"))


def test_there_are_patches() -> None:
    assert {kind for kind, *_ in PATCHES} == {"adep", "ftj"}


@pytest.mark.parametrize(("kind", "plain", "quoted"), PATCHES)
def test_a_patch_makes_a_valid_object(kind: str, plain: str, quoted: str) -> None:
    patch = json.loads(plain or re.sub(r"\$\(.*?\)", DIGEST, quoted.replace('\\"', '"')))
    model, file = KINDS[kind]
    before = yaml.safe_load((EXAMPLES / file).read_text(encoding="utf-8"))
    after = merged(before, patch)
    assert after != before
    assert model.from_manifest(after).spec != model.from_manifest(before).spec


def test_the_bodies_of_requests_are_json_for_the_alias() -> None:
    bodies = [json.loads(body) for body in re.findall(r"-d '\s*({.*?})'", TEXT, re.DOTALL)]
    assert len(bodies) == 2
    alias = yaml.safe_load(blocks("yaml")[0])["spec"]["modelName"]
    assert {body["model"] for body in bodies} == {alias}


def test_the_program_can_be_read() -> None:
    for program in blocks("python"):
        ast.parse(program)
