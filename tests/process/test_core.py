"""A trainer that crashes leaves no core: it would hold rows."""

import resource
import subprocess
import sys

ASKS = (
    "import resource; from finetune_trainer.cli.main import leave_no_core; leave_no_core(); print(resource.getrlimit(resource.RLIMIT_CORE))"
)


def test_no_core_is_written_whatever_the_node_would_allow() -> None:
    allowed = resource.getrlimit(resource.RLIMIT_CORE)[1]
    command = [sys.executable, "-c", ASKS]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CORE, (allowed, allowed))
    )
    assert done.stdout.strip() == "(0, 0)"
