"""OpenLineage run events, one JSON object a line: START and COMPLETE of the training, with data, base model and adapter as datasets.

There is no facet for training, so the record's digest travels in one of our own. Source: OpenLineage 2-0-2, RunEvent, and the facets named.
"""

import json
import uuid
from typing import Any, Final

from finetune_record.exports.words import moment, record_digest
from finetune_record.materials import Source
from finetune_record.outcome import EvaluationSection
from finetune_record.statement import Predicate, Statement

PRODUCER: Final = "https://finetune.dev/operator"
_SPEC: Final = "https://openlineage.io/spec"
_NAMESPACE: Final = uuid.uuid5(uuid.NAMESPACE_URL, "https://finetune.dev/run/v1")
_TEST_STATUS: Final = {"Pass": "pass", "Fail": "fail"}


def lineage_events(statement: Statement) -> str:
    """The events, oldest first."""
    predicate = statement.predicate
    ended = predicate.run.finished_at or predicate.chain.recorded_at
    events = [_event(statement, "START", moment(predicate.run.started_at or ended)), _event(statement, "COMPLETE", moment(ended))]
    return "".join(json.dumps(event, ensure_ascii=False) + "\n" for event in events)


def _event(statement: Statement, kind: str, at: str | None) -> dict[str, Any]:
    predicate = statement.predicate
    identity, done = predicate.identity, kind == "COMPLETE"
    return {
        "eventType": kind,
        "eventTime": at,
        "producer": PRODUCER,
        "schemaURL": f"{_SPEC}/2-0-2/OpenLineage.json#/$defs/RunEvent",
        "run": {
            "runId": str(uuid.uuid5(_NAMESPACE, f"{identity.uid}/{identity.run_number}")),
            "facets": _run_facets(statement) if done else {},
        },
        "job": {"namespace": identity.namespace, "name": identity.job, "facets": {"jobType": _job_type()}},
        "inputs": [*(_input(source) for source in predicate.data.sources), _base(predicate)],
        "outputs": [_output(predicate)] if done else [],
    }


def _run_facets(statement: Statement) -> dict[str, Any]:
    predicate = statement.predicate
    facets: dict[str, Any] = {
        "finetune_record": {
            "_producer": PRODUCER,
            "_schemaURL": "https://finetune.dev/record/v1#/openlineage",
            "digest": record_digest(statement),
            "namespace": predicate.chain.namespace,
            "sequence": predicate.chain.seq,
        }
    }
    if predicate.evaluation is not None and (tests := _tests(predicate.evaluation)):
        facets["testRun"] = {**_facet("1-0-1", "TestRunFacet"), "tests": tests}
    return facets


def _tests(evaluation: EvaluationSection) -> list[dict[str, Any]]:
    gates = [(gate.name, gate.verdict, gate.estimate) for gate in evaluation.gates]
    metrics = [(metric.name, metric.verdict, metric.delta) for metric in evaluation.metrics]
    return [
        {
            "name": name,
            "status": _TEST_STATUS.get(verdict, "skip"),
            "severity": "error",
            "type": "gate",
            **({"actual": actual} if actual is not None else {}),
        }
        for name, verdict, actual in [*gates, *metrics]
    ]


def _job_type() -> dict[str, Any]:
    return {**_facet("2-0-4", "JobTypeJobFacet"), "processingType": "BATCH", "integration": "FINETUNE", "jobType": "TRAINING"}


def _input(source: Source) -> dict[str, Any]:
    facets: dict[str, Any] = {}
    if source.digest is not None:
        facets["version"] = _version(source.digest)
    if source.owner is not None:
        facets["ownership"] = {**_facet("1-0-1", "OwnershipDatasetFacet"), "owners": [{"name": source.owner}]}
    if source.classification is not None:
        tags = [("level", source.classification.level.value), *((f"regime.{regime}", "true") for regime in source.classification.regimes)]
        facets["tags"] = {
            **_facet("1-0-0", "TagsDatasetFacet"),
            "tags": [{"key": key, "value": value, "source": "FINETUNE"} for key, value in tags],
        }
    return _dataset(source.uri, facets)


def _base(predicate: Predicate) -> dict[str, Any]:
    digest = predicate.base.digest
    return _dataset(predicate.base.uri, {"version": _version(digest)} if digest is not None else {})


def _output(predicate: Predicate) -> dict[str, Any]:
    return _dataset(predicate.outputs.uri, {"version": _version(predicate.outputs.digest)})


def _dataset(uri: str, facets: dict[str, Any]) -> dict[str, Any]:
    """``scheme://authority`` is the namespace, what follows the name."""
    scheme, _, rest = uri.partition("://")
    authority, _, path = rest.partition("/")
    return {"namespace": f"{scheme}://{authority}", "name": path or authority, "facets": facets}


def _version(digest: str) -> dict[str, Any]:
    return {**_facet("1-0-1", "DatasetVersionDatasetFacet"), "datasetVersion": digest}


def _facet(version: str, name: str) -> dict[str, Any]:
    return {"_producer": PRODUCER, "_schemaURL": f"{_SPEC}/facets/{version}/{name}.json#/$defs/{name}"}
