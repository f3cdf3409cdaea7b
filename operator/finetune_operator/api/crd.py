"""The custom resource definitions, written from the models: ``python -m finetune_operator.api.crd FOLDER``."""

import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from finetune_operator.api import finetunejob
from finetune_operator.api.adapterdeployment import deployment
from finetune_operator.api.adapterdeployment.deployment import AdapterDeployment
from finetune_operator.api.base import GROUP, VERSION, ApiModel
from finetune_operator.api.finetunejob import FineTuneJob
from finetune_operator.api.governance import approval, current, dataset, policy
from finetune_operator.api.governance.approval import Approval
from finetune_operator.api.governance.current import GovernanceFacts
from finetune_operator.api.governance.dataset import TrainingDataset
from finetune_operator.api.governance.policy import GovernancePolicy
from finetune_operator.api.markers import RULES_KEY
from finetune_operator.api.schema import structural_schema, without_defaults


@dataclass(frozen=True)
class PrinterColumn:
    """A column of ``kubectl get``; ``wide`` ones appear with ``-o wide``."""

    name: str
    json_path: str
    description: str
    type: str = "string"
    wide: bool = False

    def to_manifest(self) -> dict[str, Any]:
        column: dict[str, Any] = {"name": self.name, "type": self.type, "jsonPath": self.json_path, "description": self.description}
        return {**column, "priority": 1} if self.wide else column


@dataclass(frozen=True)
class Scale:
    """Where ``kubectl scale`` and autoscalers find replicas and pods."""

    spec_replicas: str
    status_replicas: str
    selector: str

    def to_manifest(self) -> dict[str, str]:
        return {
            "specReplicasPath": self.spec_replicas,
            "statusReplicasPath": self.status_replicas,
            "labelSelectorPath": self.selector,
        }


@dataclass(frozen=True)
class CrdSpec:
    """What a kind's definition says beyond its schema."""

    model: type[ApiModel]
    kind: str
    plural: str
    singular: str
    description: str
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ("finetuning",)
    columns: tuple[PrinterColumn, ...] = field(default=())
    scale: Scale | None = None
    namespaced: bool = True

    @property
    def name(self) -> str:
        return f"{self.plural}.{GROUP}"

    @property
    def scope(self) -> str:
        return "Namespaced" if self.namespaced else "Cluster"

    def to_manifest(self) -> dict[str, Any]:
        names = {
            "kind": self.kind,
            "listKind": f"{self.kind}List",
            "plural": self.plural,
            "singular": self.singular,
            "shortNames": list(self.short_names),
            "categories": list(self.categories),
        }
        version = {
            "name": VERSION,
            "served": True,
            "storage": True,
            "schema": {"openAPIV3Schema": self._schema()},
            **self._subresources(),
            "additionalPrinterColumns": [column.to_manifest() for column in self.columns],
        }
        return {
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {"name": self.name},
            "spec": {"group": GROUP, "names": names, "scope": self.scope, "versions": [version]},
        }

    def _subresources(self) -> dict[str, Any]:
        """A kind whose model has no status has nothing that the operator would say about its objects one by one."""
        if "status" not in self.model.model_fields:
            return {}
        return {"subresources": {"status": {}} if self.scale is None else {"status": {}, "scale": self.scale.to_manifest()}}

    def _schema(self) -> dict[str, Any]:
        whole = structural_schema(self.model)
        properties = whole["properties"]
        schema: dict[str, Any] = {
            "type": "object",
            "description": self.description,
            "required": ["spec"],
            "properties": {
                "apiVersion": {"type": "string"},
                "kind": {"type": "string"},
                "metadata": {"type": "object"},
                "spec": properties["spec"],
                **({"status": without_defaults(properties["status"])} if "status" in properties else {}),
            },
        }
        if RULES_KEY in whole:
            schema[RULES_KEY] = whole[RULES_KEY]
        return schema


def _condition(type_: str, part: str) -> str:
    return f'.status.conditions[?(@.type=="{type_}")].{part}'


FINETUNEJOB = CrdSpec(
    model=FineTuneJob,
    kind=finetunejob.KIND,
    plural=finetunejob.PLURAL,
    singular=finetunejob.SINGULAR,
    short_names=finetunejob.SHORT_NAMES,
    description="A desired adapter: from which model and data, how it is trained, what it is checked by and where it goes.",
    columns=(
        PrinterColumn("Ready", _condition("Ready", "status"), "Whether the current spec's adapter is trained, checked and published."),
        PrinterColumn("Reason", _condition("Ready", "reason"), "Why it is ready or not."),
        PrinterColumn("Stage", ".spec.stage", "How it learns."),
        PrinterColumn("Tuner", ".spec.tuner.type", "Which weights it learns."),
        PrinterColumn("Step", ".status.currentRun.stepText", "Optimizer steps done, of how many."),
        PrinterColumn("Loss", ".status.currentRun.loss", "Training loss."),
        PrinterColumn("ETA", ".status.currentRun.eta", "Time left of the active step."),
        PrinterColumn("Age", ".metadata.creationTimestamp", "Time since creation.", type="date"),
        PrinterColumn("Run", ".status.currentRun.number", "Number of the current run.", type="integer", wide=True),
        PrinterColumn("Dataset", ".status.dataset.digest", "Digest of the sealed dataset.", wide=True),
        PrinterColumn("Level", ".status.governance.classification.level", "How sensitive it all is.", wide=True),
        PrinterColumn("Artifact", ".status.artifact.uri", "Where the adapter lies.", wide=True),
        PrinterColumn("Message", _condition("Ready", "message"), "What happened and what to do next.", wide=True),
    ),
)

ADAPTERDEPLOYMENT = CrdSpec(
    model=AdapterDeployment,
    kind=deployment.KIND,
    plural=deployment.PLURAL,
    singular=deployment.SINGULAR,
    short_names=deployment.SHORT_NAMES,
    description="A desired adapter behind a model name: which one, on which servers, and how a new one replaces it under traffic.",
    scale=Scale(".spec.server.managed.replicas", ".status.replicas", ".status.selector"),
    columns=(
        PrinterColumn("Model", ".spec.modelName", "What clients send as model."),
        PrinterColumn("Phase", ".status.phase", "Where it is."),
        PrinterColumn("Step", ".status.step.text", "Step of the rollout, of how many."),
        PrinterColumn("Weight", ".status.step.weight", "Percent of the callers who get the canary.", type="integer"),
        PrinterColumn("Stable", ".status.stable.version", "The version that answers."),
        PrinterColumn("Canary", ".status.canaryVersion", "The version that is tried."),
        PrinterColumn("Loaded", ".status.loaded", "Pods that hold what they should, of how many."),
        PrinterColumn("Reason", _condition("Ready", "reason"), "Why it is ready or not."),
        PrinterColumn("Age", ".metadata.creationTimestamp", "Time since creation.", type="date"),
        PrinterColumn("Ready", _condition("Ready", "status"), "Whether the spec's version answers all callers.", wide=True),
        PrinterColumn("Message", _condition("Ready", "message"), "What happened and what to do next.", wide=True),
    ),
)

TRAININGDATASET = CrdSpec(
    model=TrainingDataset,
    kind=dataset.KIND,
    plural=dataset.PLURAL,
    singular=dataset.SINGULAR,
    short_names=dataset.SHORT_NAMES,
    description="One version of data: where it lies, its digest and its classification. The right to create one is the right to classify.",
    columns=(
        PrinterColumn("Level", ".spec.level", "How sensitive the data are."),
        PrinterColumn("Regimes", ".spec.regimes", "What they stand under."),
        PrinterColumn("Residency", ".spec.residency", "Where they must stay."),
        PrinterColumn("Withdrawn", ".spec.withdrawn.reason", "Why nothing is to be made of them any more."),
        PrinterColumn("Jobs", ".status.jobs", "FineTuneJobs that refer to them.", type="integer"),
        PrinterColumn("Last-Used", ".status.lastUsedAt", "When a run on them last began.", type="date"),
        PrinterColumn("Age", ".metadata.creationTimestamp", "Time since creation.", type="date"),
        PrinterColumn("Ready", _condition("Ready", "status"), "Whether jobs may refer to them.", wide=True),
        PrinterColumn("Artifacts", ".status.artifacts", "Adapters that were published from them.", type="integer", wide=True),
        PrinterColumn("URI", ".spec.uri", "Where they lie.", wide=True),
        PrinterColumn("Digest", ".spec.digest", "Digest of the files.", wide=True),
    ),
)

GOVERNANCEPOLICY = CrdSpec(
    model=GovernancePolicy,
    kind=policy.KIND,
    plural=policy.PLURAL,
    singular=policy.SINGULAR,
    short_names=policy.SHORT_NAMES,
    description="What may be trained where, on what, with whose approval. Every policy that matches is judged by itself; all must be met.",
    columns=(
        PrinterColumn("Mode", ".spec.mode", "Whether it blocks or only records."),
        PrinterColumn("From", ".spec.match.minLevel", "The level from which it applies."),
        PrinterColumn("Regimes", ".spec.match.regimes", "The regimes under which it applies."),
        PrinterColumn("Namespaces", ".status.matchedNamespaceCount", "Namespaces that it matches.", type="integer"),
        PrinterColumn("Denied", ".status.jobs.denied", "FineTuneJobs under it that are refused.", type="integer"),
        PrinterColumn("Ready", _condition("Ready", "status"), "Whether it is in force and can be met."),
        PrinterColumn("Age", ".metadata.creationTimestamp", "Time since creation.", type="date"),
        PrinterColumn("Generation", ".metadata.generation", "What decisions name it by.", type="integer", wide=True),
        PrinterColumn("Reason", _condition("Ready", "reason"), "Why it is ready or not.", wide=True),
    ),
    namespaced=False,
)

APPROVAL = CrdSpec(
    model=Approval,
    kind=approval.KIND,
    plural=approval.PLURAL,
    singular=approval.SINGULAR,
    short_names=approval.SHORT_NAMES,
    description="Somebody's word for one decision about one object, bound to its digest. It is created once and never changed.",
    columns=(
        PrinterColumn("Subject", ".spec.subjectRef.name", "What is approved."),
        PrinterColumn("Stage", ".spec.stage", "What may go on."),
        PrinterColumn("Approver", ".spec.approver", "Who approves."),
        PrinterColumn("Expires", ".spec.expiresAt", "From when it does not count."),
        PrinterColumn("Age", ".metadata.creationTimestamp", "Time since creation.", type="date"),
        PrinterColumn("Digest", ".spec.subjectDigest", "Of the decision it is for.", wide=True),
        PrinterColumn("Why", ".spec.reason", "In the approver's words.", wide=True),
    ),
)

GOVERNANCEFACTS = CrdSpec(
    model=GovernanceFacts,
    kind=current.KIND,
    plural=current.PLURAL,
    singular=current.SINGULAR,
    short_names=current.SHORT_NAMES,
    description="What admission knows of a governed namespace beside the object that it judges. The operator writes it, nobody else does.",
    columns=(
        PrinterColumn("Complete", ".spec.complete", "Whether everything fits.", type="boolean"),
        PrinterColumn("Policies", ".spec.policies[*].name", "Policies that match the namespace."),
        PrinterColumn("Age", ".metadata.creationTimestamp", "Time since creation.", type="date"),
    ),
)

GOVERNANCE_KINDS = (TRAININGDATASET, GOVERNANCEPOLICY, APPROVAL, GOVERNANCEFACTS)
KINDS = (FINETUNEJOB, ADAPTERDEPLOYMENT, *GOVERNANCE_KINDS)

HEADER = "# Generated from finetune_operator.api by hack/manifests.sh; do not edit.\n"


def to_yaml(manifest: dict[str, Any]) -> str:
    """The same text for the same manifest, always."""
    plain = json.loads(json.dumps(manifest))  # no shared objects, which YAML would write as anchors
    return HEADER + yaml.safe_dump(plain, sort_keys=False, width=140, allow_unicode=True)


def file_name(kind: CrdSpec) -> str:
    return f"{GROUP}_{kind.plural}.yaml"


def kept_by_helm(kind: CrdSpec) -> dict[str, Any]:
    """The definition as the chart installs it: uninstalling the release must not delete every object of the kind."""
    manifest = kind.to_manifest()
    return {**manifest, "metadata": {**manifest["metadata"], "annotations": {"helm.sh/resource-policy": "keep"}}}


def write_all(folder: Path) -> list[Path]:
    """Write one file per kind; returns the paths written."""
    folder.mkdir(parents=True, exist_ok=True)
    written = [folder / file_name(kind) for kind in KINDS]
    for kind, path in zip(KINDS, written, strict=True):
        path.write_text(to_yaml(kind.to_manifest()), encoding="utf-8")
    return written


if __name__ == "__main__":
    write_all(Path(sys.argv[1] if len(sys.argv) > 1 else "crds"))
