"""A CycloneDX 1.6 bill of materials with the adapter as a machine-learning model, its base, its data, its image and its libraries.

Source: CycloneDX 1.6 JSON schema (modelCard, componentData).
"""

import json
import uuid
from collections.abc import Iterator
from typing import Any, Final

from finetune_record.bounds import hex_of
from finetune_record.exports.words import moment, record_digest, title
from finetune_record.materials import Source
from finetune_record.statement import Predicate, Statement
from finetune_trainer.contract import Digest

_NAMESPACE: Final = uuid.uuid5(uuid.NAMESPACE_URL, "https://finetune.dev/record/v1")


def bill_of_materials(statement: Statement) -> str:
    """The document as JSON."""
    predicate, digest = statement.predicate, record_digest(statement)
    components = list(_components(predicate))
    document = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(_NAMESPACE, digest)}",
        "version": 1,
        "metadata": {
            "timestamp": moment(predicate.chain.recorded_at),
            "component": _adapter(statement),
            "properties": [_property("finetune:record", digest), _property("finetune:sequence", str(predicate.chain.seq))],
        },
        "components": components,
        "dependencies": [
            {"ref": "adapter", "dependsOn": sorted(component["bom-ref"] for component in components)},
            *({"ref": component["bom-ref"]} for component in components),
        ],
    }
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _adapter(statement: Statement) -> dict[str, Any]:
    predicate = statement.predicate
    identity, outputs = predicate.identity, predicate.outputs
    component: dict[str, Any] = {
        "type": "machine-learning-model",
        "bom-ref": "adapter",
        "name": title(statement),
        "version": hex_of(outputs.digest),
        "hashes": [_hash(outputs.digest)],
        "modelCard": _model_card(predicate),
        "components": [
            {"type": "file", "bom-ref": f"file:{name}", "name": name, "hashes": [_hash(digest)]} for name, digest in statement.files.items()
        ],
        "properties": list(_governance(predicate)),
    }
    if identity.submitter is not None:
        component["authors"] = [{"name": identity.submitter}]
    return component


def _model_card(predicate: Predicate) -> dict[str, Any]:
    evaluation = predicate.evaluation
    card: dict[str, Any] = {
        "modelParameters": {
            "task": "text generation",
            "datasets": [{"ref": f"data:{position}"} for position, _ in enumerate(predicate.data.sources)],
        }
    }
    if evaluation is not None and evaluation.metrics:
        card["quantitativeAnalysis"] = {
            "performanceMetrics": [
                {"type": metric.name, "value": value, "slice": which, **({"confidenceInterval": interval} if interval else {})}
                for metric in evaluation.metrics
                for which, value, interval in (
                    ("base model", metric.base, None),
                    ("adapter", metric.tuned, None),
                    ("difference", metric.delta, {"lowerBound": metric.low, "upperBound": metric.high}),
                )
            ]
        }
    return card


def _components(predicate: Predicate) -> Iterator[dict[str, Any]]:
    base, image = predicate.base, predicate.code.trainer_image
    yield {
        "type": "machine-learning-model",
        "bom-ref": "base",
        "name": base.uri,
        **({"version": base.revision} if base.revision else {}),
        **({"hashes": [_hash(base.digest)]} if base.digest else {}),
        "licenses": [{"license": {"name": licence.key}} for licence in base.licences or []],
    }
    for position, source in enumerate(predicate.data.sources):
        yield _dataset(position, source)
    if image is not None:
        yield {"type": "container", "bom-ref": "image", "name": image}
    for name, version in sorted((predicate.code.versions or {}).items()):
        yield {"type": "library", "bom-ref": f"pypi:{name}", "name": name, "version": version, "purl": f"pkg:pypi/{name}@{version}"}


def _dataset(position: int, source: Source) -> dict[str, Any]:
    told: dict[str, Any] = {"type": "dataset", "name": source.dataset or source.field, "contents": {"url": source.uri}}
    if source.classification is not None:
        told["classification"] = source.classification.level.value
        told["sensitiveData"] = list(source.classification.regimes)
    if source.owner is not None:
        told["governance"] = {"owners": [{"organization": {"name": source.owner}}]}
    return {
        "type": "data",
        "bom-ref": f"data:{position}",
        "name": source.dataset or source.uri,
        **({"hashes": [_hash(source.digest)]} if source.digest else {}),
        "licenses": [{"license": {"name": source.licence}}] if source.licence else [],
        "data": [told],
    }


def _governance(predicate: Predicate) -> Iterator[dict[str, str]]:
    policy, classification = predicate.policy, predicate.outputs.classification
    if classification is not None:
        yield _property("finetune:level", classification.level.value)
        for regime in classification.regimes:
            yield _property("finetune:regime", regime)
    for applied in policy.policies if policy else []:
        yield _property("finetune:policy", f"{applied.name}@{applied.generation}")
    for approval in predicate.approvals:
        yield _property("finetune:approver", f"{approval.approver} ({approval.stage})")
    if predicate.evaluation is not None:
        yield _property("finetune:verdict", predicate.evaluation.verdict)


def _hash(digest: Digest) -> dict[str, str]:
    return {"alg": "SHA-256", "content": hex_of(digest)}


def _property(name: str, value: str) -> dict[str, str]:
    return {"name": name, "value": value}
