"""A trainer that crashes leaves no core, nor does a server: it would hold rows or prompts."""

import resource
import subprocess
import sys

import pytest

ASKS = "import resource; from {module} import leave_no_core; leave_no_core(); print(resource.getrlimit(resource.RLIMIT_CORE))"


@pytest.mark.parametrize("module", ["finetune_trainer.cli.main", "finetune_inference.cli.main"])
def test_no_core_is_written_whatever_the_node_would_allow(module: str) -> None:
    allowed = resource.getrlimit(resource.RLIMIT_CORE)[1]
    command = [sys.executable, "-c", ASKS.format(module=module)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CORE, (allowed, allowed))
    )
    assert done.stdout.strip() == "(0, 0)"
