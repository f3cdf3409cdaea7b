"""What a person corrects takes effect on a real API server, where Jobs cannot be changed and ConfigMaps of runs are immutable."""

import json

from finetune_operator.api.base import LABEL_STEP
from tests.cluster.finetunejobs import Object, Place
from tests.cluster.operator_process import OperatorProcess


def document(here: Place, name: str) -> Object:
    """What the pods of the one run are told."""
    (config_map,) = here.config_maps(name)
    found: Object = json.loads(config_map["data"]["run.json"])
    return found


def outcomes_of(here: Place, name: str) -> list[tuple[int, str]]:
    return [(entry["number"], entry["outcome"]) for entry in here.status(name)["history"]]


def test_a_blocked_run_gives_way_to_the_spec_that_names_a_claim_that_exists(operator: OperatorProcess, here: Place) -> None:
    here.apply("misspelt", baseModel__uri="pvc://modles/tiny")
    here.wait_reason("misspelt", "ClaimMissing")
    here.patch("misspelt", {"baseModel": {"uri": "pvc://models/tiny"}})
    here.wait_reason("misspelt", "RunSucceeded")
    assert outcomes_of(here, "misspelt") == [(2, "Succeeded"), (1, "Replaced")]
    assert operator.messages("error") == []


def test_a_run_begins_again_with_the_destination_that_was_corrected(operator: OperatorProcess, here: Place) -> None:
    here.apply("astray", artifact__uri="pvc://adapers/support")
    here.wait_reason("astray", "ClaimMissing")
    here.patch("astray", {"artifact": {"uri": "pvc://adapters/support"}})
    here.wait_reason("astray", "RunSucceeded")
    assert outcomes_of(here, "astray") == [(1, "Succeeded")]
    assert document(here, "astray")["artifact"]["uri"] == "pvc://adapters/support"
    assert operator.messages("error") == []


def test_resources_that_were_corrected_reach_a_pod_that_no_node_could_take(operator: OperatorProcess, here: Place) -> None:
    here.apply("oversized", resources__gpusPerNode=1, resources__gpuResourceName="example.com/absent")
    here.wait_reason("oversized", "WaitingForNode")
    here.patch("oversized", {"resources": {"gpusPerNode": 0}})
    here.wait_reason("oversized", "RunSucceeded")
    assert outcomes_of(here, "oversized") == [(1, "Succeeded")]
    assert document(here, "oversized")["resources"]["gpus"] == 0
    attempts = {job["metadata"]["name"][-7:] for job in here.jobs("oversized") if job["metadata"]["labels"][LABEL_STEP] == "train"}
    assert attempts == {"train-2"}
    assert operator.messages("error") == []
