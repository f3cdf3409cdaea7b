"""Where the API server can change requests (Kubernetes 1.36 and later), it fills in who submits a job and who approves, and keeps it so.

Filling in comes before the validation of schemas and before every policy that refuses, so that nobody has to write his own name, and a name
that is wrong is refused all the same. No field manager owns what is filled in: tools that compare see no difference.
https://kubernetes.io/docs/reference/access-authn-authz/mutating-admission-policy/
"""

from dataclasses import dataclass
from typing import Any

from finetune_operator.api.base import GROUP, VERSION
from finetune_operator.api.crd import APPROVAL, FINETUNEJOB
from finetune_operator.manifests.admission.cel import text
from finetune_operator.manifests.admission.policy import GROUP_NAME, Requests
from finetune_operator.manifests.admission.subjects import SUBMITTER
from finetune_trainer.contract.governance.vocabulary import ANNOTATION_SUBMITTED_BY, LABEL_GOVERNED


@dataclass(frozen=True)
class FillingPolicy:
    """``absent`` is CEL for whether there is something to fill in, ``patches`` for the JSON patches that do it."""

    name: str
    requests: Requests
    absent: str
    patches: str

    @property
    def full_name(self) -> str:
        return f"{self.name}.{GROUP_NAME}"

    def to_manifests(self) -> list[dict[str, Any]]:
        """The policy, and its binding to governed namespaces."""
        governed = {"namespaceSelector": {"matchExpressions": [{"key": LABEL_GOVERNED, "operator": "Exists"}]}}
        spec = {
            "failurePolicy": "Fail",
            "reinvocationPolicy": "Never",
            "matchConstraints": {"matchPolicy": "Equivalent", "resourceRules": [self.requests.to_manifest()]},
            "matchConditions": [{"name": "nobody-is-named", "expression": self.absent}],
            "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": self.patches}}],
        }
        return [
            self._manifest("MutatingAdmissionPolicy", spec),
            self._manifest("MutatingAdmissionPolicyBinding", {"policyName": self.full_name, "matchResources": governed}),
        ]

    def _manifest(self, kind: str, spec: dict[str, Any]) -> dict[str, Any]:
        return {"apiVersion": "admissionregistration.k8s.io/v1", "kind": kind, "metadata": {"name": self.full_name}, "spec": spec}


def submitters() -> FillingPolicy:
    """A new job gets the name of who asks; one whose annotation was left out in a change, as `kubectl replace` does, gets its own again."""
    before = f"oldObject.{SUBMITTER}"
    key = f"'/metadata/annotations/' + jsonpatch.escapeKey({text(ANNOTATION_SUBMITTED_BY)})"
    value = f"request.operation == 'CREATE' ? request.userInfo.username : string({before}.orValue(''))"
    return FillingPolicy(
        name="submitters",
        requests=Requests(GROUP, VERSION, (FINETUNEJOB.plural,), ("CREATE", "UPDATE")),
        absent=f"!object.{SUBMITTER}.hasValue() && (request.operation == 'CREATE' || {before}.hasValue())",
        patches=(
            "(has(object.metadata.annotations) ? [] : [JSONPatch{op: 'add', path: '/metadata/annotations', value: {}}])\n"
            f"+ [JSONPatch{{op: 'add', path: {key}, value: {value}}}]"
        ),
    )


def approvers() -> FillingPolicy:
    return FillingPolicy(
        name="approvers",
        requests=Requests(GROUP, VERSION, (APPROVAL.plural,), ("CREATE",)),
        absent="!object.?spec.?approver.hasValue()",
        patches="[JSONPatch{op: 'add', path: '/spec/approver', value: request.userInfo.username}]",
    )
