"""The Job's pod failure policy: it never retries, it only makes the Job's own condition say how the pod ended.

The pod may be gone by the time somebody looks; the Job's condition stays. Its message names the exit code
(``… failed with exit code 65 matching FailJob rule …``) or the disruption (``… has condition DisruptionTarget …``).
https://kubernetes.io/docs/concepts/workloads/controllers/job/#pod-failure-policy
"""

from typing import Any

from finetune_operator.manifests.preflight import PREFLIGHT_CONTAINER
from finetune_trainer.contract import CLASS_OF_EXIT, ExitCode

TRAINER_CONTAINER = "trainer"
DISRUPTION_TARGET = "DisruptionTarget"
_REFUSED = (ExitCode.NOT_CONTAINED, ExitCode.DENIED)
"""What a preflight says where nothing may begin."""


def build_failure_policy(*, preflight: bool = False, probed: bool = False) -> dict[str, Any]:
    """Exit codes the trainer chose come first: they say more than a disruption does; a disruption says more than a bare 137.

    ``preflight``: one goes before the trainer, and its codes come before all others; ``probed``: egress is tried while a model trains too.
    """
    spoken = sorted(int(code) for code in CLASS_OF_EXIT if code not in (ExitCode.DONE, *_REFUSED))
    spoken += [int(ExitCode.NOT_CONTAINED)] if probed else []
    found = {"containerName": PREFLIGHT_CONTAINER, "operator": "In", "values": [int(code) for code in _REFUSED]}
    return {
        "rules": [
            *([{"action": "FailJob", "onExitCodes": found}] if preflight else []),
            {"action": "FailJob", "onExitCodes": {"containerName": TRAINER_CONTAINER, "operator": "In", "values": spoken}},
            {"action": "FailJob", "onPodConditions": [{"type": DISRUPTION_TARGET, "status": "True"}]},
            {"action": "FailJob", "onExitCodes": {"containerName": TRAINER_CONTAINER, "operator": "NotIn", "values": [int(ExitCode.DONE)]}},
        ]
    }
