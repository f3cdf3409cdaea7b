"""The Job's pod failure policy: it never retries, it only makes the Job's own condition say how the pod ended.

The pod may be gone by the time somebody looks; the Job's condition stays. Its message names the exit code
(``… failed with exit code 65 matching FailJob rule …``) or the disruption (``… has condition DisruptionTarget …``).
https://kubernetes.io/docs/concepts/workloads/controllers/job/#pod-failure-policy
"""

from typing import Any

from finetune_operator.manifests.egressprobe import PROBE_CONTAINER
from finetune_trainer.contract import CLASS_OF_EXIT, ExitCode

TRAINER_CONTAINER = "trainer"
DISRUPTION_TARGET = "DisruptionTarget"


def build_failure_policy(*, probed: bool = False) -> dict[str, Any]:
    """Exit codes the trainer chose come first: they say more than a disruption does; a disruption says more than a bare 137.

    ``probed``: a probe of egress goes before the trainer, and its one code comes before all others.
    """
    spoken = sorted(int(code) for code in CLASS_OF_EXIT if code not in (ExitCode.DONE, ExitCode.NOT_CONTAINED))
    spoken += [int(ExitCode.NOT_CONTAINED)] if probed else []
    found = {"containerName": PROBE_CONTAINER, "operator": "In", "values": [int(ExitCode.NOT_CONTAINED)]}
    return {
        "rules": [
            *([{"action": "FailJob", "onExitCodes": found}] if probed else []),
            {"action": "FailJob", "onExitCodes": {"containerName": TRAINER_CONTAINER, "operator": "In", "values": spoken}},
            {"action": "FailJob", "onPodConditions": [{"type": DISRUPTION_TARGET, "status": "True"}]},
            {"action": "FailJob", "onExitCodes": {"containerName": TRAINER_CONTAINER, "operator": "NotIn", "values": [int(ExitCode.DONE)]}},
        ]
    }
