"""The chart, and Helm to render and install it."""

import subprocess
from pathlib import Path
from typing import Any

import yaml

from finetune_testbed import binaries
from finetune_testbed.bed import Testbed

CHART = Path(__file__).resolve().parents[2] / "charts/finetune-operator"
NAMESPACE = "finetune-system"
NAME = "finetune-operator"


class Helm:
    """Helm against one testbed."""

    def __init__(self, bed: Testbed) -> None:
        self._program = binaries.path("helm", bed.cache_dir, progress=print)
        self._kubeconfig = bed.kubeconfig

    def __call__(self, *arguments: str, expect: int = 0) -> str:
        command = [str(self._program), *arguments, "--kubeconfig", str(self._kubeconfig), "--namespace", NAMESPACE]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == expect, f"helm {' '.join(arguments)}: {done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    def template(self, *values: str) -> list[dict[str, Any]]:
        return [document for document in yaml.safe_load_all(self("template", NAME, str(CHART), *values)) if document]
