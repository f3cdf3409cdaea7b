"""A run from manifest to artifact on a control plane with fake nodes, by the real operator process."""

from finetune_operator.api.base import FIELD_MANAGER
from tests.cluster.finetunejobs import Place
from tests.cluster.operator_process import OperatorProcess, until


def test_a_manifest_becomes_an_artifact(operator: OperatorProcess, here: Place) -> None:
    here.apply("first")
    assert here.wait_ended("first") == "Succeeded"
    status = here.status("first")
    assert status["phase"] == "Ready"
    assert {c["type"]: c["status"] for c in status["conditions"]}["Ready"] == "True"
    assert [entry["outcome"] for entry in status["history"]] == ["Succeeded"]
    assert status["artifact"]["digest"].startswith("sha256:")
    steps = sorted(job["metadata"]["labels"]["finetune.dev/step"] for job in here.jobs("first"))
    assert steps == ["prepare", "publish", "train"]


def test_events_are_few_and_name_transitions(operator: OperatorProcess, here: Place) -> None:
    here.apply("eventful")
    here.wait_ended("eventful")
    events = here.events("eventful")
    assert 1 <= len(events) <= 5
    assert len({(event["reason"], event["note"]) for event in events}) == len(events)
    assert all(event["reportingController"].endswith(FIELD_MANAGER) for event in events)


def test_deleting_the_job_ends_its_children_and_its_key(operator: OperatorProcess, here: Place) -> None:
    here.apply("gone")
    until(lambda: here.jobs("gone"))
    here.delete("gone")
    until(lambda: not here.jobs("gone") and not here.config_maps("gone"))
    until(lambda: operator.metric('finetune_cache_objects{resource="finetunejobs"}') == 0)
    assert not operator.messages("error")


def test_the_log_says_each_transition_once_with_key_generation_and_run(operator: OperatorProcess, here: Place) -> None:
    here.apply("logged")
    here.wait_ended("logged")
    lines = [line for line in operator.logs if line.get("key") == f"{here.namespace}/logged" and "conditions" in line]
    assert lines
    assert all(line["generation"] == 1 and line["run"] for line in lines)
    assert len({str(line["conditions"]) + line["message"] for line in lines}) == len(lines)
