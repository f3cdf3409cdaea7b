"""What a stopped pod said reaches status, although pod and Job go their ways one before the other."""

from collections.abc import Callable

import pytest

from finetune_operator.api.base import LABEL_ATTEMPT, LABEL_STEP
from finetune_testbed import outcomes
from finetune_testbed.outcomes import PodOutcome
from finetune_trainer.contract import FailureClass, SealedCheckpoint, TerminationMessage
from tests.cluster.finetunejobs import Object, Place
from tests.cluster.operator_process import OperatorProcess, until

SEALED = 40
STOPPED = TerminationMessage(
    step="train",
    run_key="",
    outcome=FailureClass.STOPPED,
    reason="Stopped",
    message=f"stopped after step {SEALED}",
    checkpoint=SealedCheckpoint(step=SEALED, digest="sha256:" + "cc" * 32),
).to_json()
PREEMPTED = PodOutcome(hold=True, term_exit_code=75, term_message=STOPPED)


def delete(here: Place, pod: str) -> None:
    here.server.request("DELETE", here.path("pods", pod))


def evict(here: Place, pod: str) -> None:
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod, "namespace": here.namespace}}
    here.server.request("POST", here.path("pods", pod) + "/eviction", eviction)


def training_pod(here: Place, name: str, attempt: int) -> Object:
    def look() -> list[Object]:
        wanted = {LABEL_STEP: "train", LABEL_ATTEMPT: str(attempt)}
        return [
            pod for pod in here.pods(name) if wanted.items() <= pod["metadata"]["labels"].items() and pod["status"]["phase"] == "Running"
        ]

    return until(look)[0]


@pytest.mark.parametrize("take", [delete, evict])
def test_the_sealed_step_of_a_pod_that_is_taken_is_known_when_the_next_attempt_begins(
    operator: OperatorProcess, here: Place, take: Callable[[Place, str], None]
) -> None:
    with outcomes.played(here.bed, {"finetune.dev/step": "train"}, PREEMPTED, name=here.namespace, namespace=here.namespace):
        here.apply("taken")
        here.wait_reason("taken", "Training")
        take(here, training_pod(here, "taken", 1)["metadata"]["name"])
        until(lambda: here.status("taken")["currentRun"]["attempt"] == 2)
        second = training_pod(here, "taken", 2)["metadata"]["name"]
    run = here.status("taken")["currentRun"]
    assert run["lastSealedStep"] == SEALED
    assert (run["retries"]["preemptions"], run["retries"]["idlePreemptions"]) == (1, 0)
    assert run["retries"]["infrastructure"] == 0
    outcomes.release(here.bed, here.namespace, second)
    assert here.wait_ended("taken") == "Succeeded"
