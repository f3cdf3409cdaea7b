"""The credentials of a tracker: files of the training pod alone, and no reason for it to wait."""

from typing import Any

import pytest

from finetune_operator.api.spec import FineTuneJobSpec
from finetune_operator.manifests.job import Attempt, build_job
from finetune_operator.manifests.names import Owner
from finetune_operator.manifests.pod import PodEnvironment
from finetune_operator.manifests.runspec import build_run_spec
from finetune_trainer.contract import Step
from tests.unit.domain.samples import spec

OWNER, KEY = Owner("support", "ticket-router", "0-1-2"), "0" * 64
TRACKER = {"uri": "https://mlflow.mlops/base", "credentialsSecretRef": {"name": "mlflow"}}


def pod(step: Step, mlflow: dict[str, Any] | None) -> dict[str, Any]:
    wanted = FineTuneJobSpec.model_validate(spec(**({"tracking__mlflow": mlflow} if mlflow else {})))
    job = build_job(OWNER, wanted, Attempt(KEY, "run", step, 1), PodEnvironment("trainer:1"))
    found: dict[str, Any] = job["spec"]["template"]["spec"]
    return found


def test_a_secret_is_mounted_with_the_keys_that_are_read_and_need_not_be_there() -> None:
    found = pod(Step.TRAIN, TRACKER)
    (volume,) = [each for each in found["volumes"] if each["name"] == "tracker"]
    assert volume["secret"]["secretName"] == "mlflow"
    assert volume["secret"]["optional"] is True
    assert [item["key"] for item in volume["secret"]["items"]] == ["token", "username", "password", "ca.crt"]
    (mount,) = [each for each in found["containers"][0]["volumeMounts"] if each["name"] == "tracker"]
    assert mount == {"name": "tracker", "mountPath": "/etc/finetune/credentials/tracker", "readOnly": True}


@pytest.mark.parametrize("step", [Step.PREPARE, Step.PUBLISH])
def test_no_other_step_sees_it(step: Step) -> None:
    assert pod(step, TRACKER) == pod(step, None)


def test_without_credentials_the_training_pod_is_as_without_a_tracker() -> None:
    assert pod(Step.TRAIN, {"uri": "http://mlflow.mlops"}) == pod(Step.TRAIN, None)


def test_the_document_names_server_and_experiment_and_nothing_where_there_is_none() -> None:
    def document(mlflow: dict[str, Any] | None) -> dict[str, Any]:
        wanted = FineTuneJobSpec.model_validate(spec(**({"tracking__mlflow": mlflow} if mlflow else {})))
        made = build_run_spec(OWNER, wanted, key=KEY, name="run", number=1, token_digest="sha256:" + "0" * 64)
        return dict(made.model_dump(mode="json", by_alias=True, exclude_none=True))

    assert document(TRACKER)["tracking"] == {"uri": "https://mlflow.mlops/base", "experiment": "support/ticket-router"}
    assert document({**TRACKER, "experiment": "routing"})["tracking"]["experiment"] == "routing"
    assert "tracking" not in document(None)
