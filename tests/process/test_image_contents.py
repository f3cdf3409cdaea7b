"""An image holds every module of ours that its program imports, and of the other programs only what they share."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LOADED = "print(json.dumps({name: module.__file__ for name, module in sys.modules.items() if name.startswith('finetune_')}))"


@pytest.mark.parametrize(
    ("dockerfile", "modules"),
    [
        ("operator/Dockerfile", "finetune_operator.runtime.main, finetune_operator.api.crd, finetune_operator.domain.rollout.decide"),
        ("inference_image/Dockerfile", "finetune_inference.cli.agent, finetune_inference.cli.route, finetune_inference.cli.preflight"),
    ],
)
def test_whatever_a_program_imports_is_copied_into_its_image(dockerfile: str, modules: str, tmp_path: Path) -> None:
    for source, target in re.findall(r"^COPY (\S+) /app/(\S+)$", (ROOT / dockerfile).read_text(), re.MULTILINE):
        place = tmp_path / target
        place.parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if (ROOT / source).is_dir() else shutil.copy)(ROOT / source, place)
        assert f"\n!{source}\n" in (ROOT / f"{dockerfile}.dockerignore").read_text()
    command = [sys.executable, "-P", "-c", f"import json, sys, {modules}\n{LOADED}"]
    done = subprocess.run(command, env={"PYTHONPATH": str(tmp_path)}, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    loaded = json.loads(done.stdout)
    assert len(loaded) > 20
    assert {name: file for name, file in loaded.items() if not file.startswith(str(tmp_path))} == {}
