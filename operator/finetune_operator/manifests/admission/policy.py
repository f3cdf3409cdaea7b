"""One ValidatingAdmissionPolicy with its binding, as a value.

A policy has one validation that tells all its findings, because the API server shows one denial only, and of several policies a random one.
Versions are always explicit: with ``*`` the API server does not check types. Every expression is evaluated inside the API server, so that a
policy holds while the operator is down. https://kubernetes.io/docs/reference/access-authn-authz/validating-admission-policy/
"""

from dataclasses import dataclass, field, replace
from typing import Any

from finetune_trainer.contract.governance.vocabulary import LABEL_GOVERNED

GROUP_NAME = "governance.finetune.dev"
ACTIONS, MISSING = "__ACTIONS__", "__MISSING__"
"""What Helm replaces: `ACTIONS` by the actions of every binding, `MISSING` by what a binding does whose parameter is not there, `ITSELF`,
`OPERATORS`, `REGIMES`, `PLACES` and `IMAGES` by lists of texts."""
ITSELF, OPERATORS = "__ITSELF__", "__OPERATORS__"
"""The operator's service account, and with it those who may do what it does to workloads."""
REGIMES, PLACES = "__REGIMES__", "__PLACES__"
IMAGES = "__IMAGES__"
"""Repositories of engines that deployments may name."""
MESSAGE_LIMIT = 4_800
"""Characters of a message; above 5,120 bytes the API server drops it for the static one."""
_GOVERNED = {"namespaceSelector": {"matchExpressions": [{"key": LABEL_GOVERNED, "operator": "Exists"}]}}

Variables = dict[str, str]


@dataclass(frozen=True)
class Requests:
    """Which requests: of these resources and subresources, and these operations."""

    group: str
    version: str
    resources: tuple[str, ...]
    operations: tuple[str, ...]
    scope: str = "Namespaced"

    def to_manifest(self) -> dict[str, Any]:
        return {
            "apiGroups": [self.group],
            "apiVersions": [self.version],
            "resources": list(self.resources),
            "operations": list(self.operations),
            "scope": self.scope,
        }


@dataclass(frozen=True)
class Validation:
    """Refuse unless the list of findings is empty. ``unless`` is CEL that lifts it and may use the authorizer, which a message cannot."""

    findings: str
    unless: str = ""

    @property
    def line(self) -> dict[str, str]:
        """The variable with all findings on one line."""
        found = f"variables.{self.findings}"
        return {"name": f"{self.findings}Line", "expression": f"string({found}.size()) + ' finding(s): ' + {found}.join('; ')"}

    def to_manifest(self, message: str) -> dict[str, str]:
        line = f"variables.{self.line['name']}"
        return {
            "expression": f"{self.unless} || variables.{self.findings}.size() == 0"
            if self.unless
            else f"variables.{self.findings}.size() == 0",
            "reason": "Forbidden",
            "message": message,
            "messageExpression": f"{line}.size() > {MESSAGE_LIMIT} ? {line}.substring(0, {MESSAGE_LIMIT}) + ' and more' : {line}",
        }


@dataclass(frozen=True)
class Params:
    """What a policy reads as ``params``, of the request's namespace: the object of this name, or without a name each of the kind by turns.

    Without the named object nothing can be created. Changes are then let pass, so that finalizers come off in a namespace that is being
    deleted, where that object may go first; nobody else can take it away. Without any of the kind nothing is judged.
    """

    api_version: str
    kind: str
    name: str = ""


@dataclass(frozen=True)
class AdmissionPolicy:
    """``message`` is shown where the findings cannot be told, ``when`` are conditions without which nothing is judged."""

    name: str
    message: str
    requests: tuple[Requests, ...]
    variables: Variables
    validations: tuple[Validation, ...] = (Validation("findings"),)
    when: dict[str, str] = field(default_factory=dict)
    governed_only: bool = True
    params: Params | None = None

    @property
    def full_name(self) -> str:
        return f"{self.name}.{GROUP_NAME}"

    def to_manifests(self) -> list[dict[str, Any]]:
        """The policy and its bindings; governed are namespaces with the label, whatever its value, so that a typing error opens nothing."""
        return [self._manifest("ValidatingAdmissionPolicy", self.full_name, self._spec()), *self._bindings()]

    def _bindings(self) -> list[dict[str, Any]]:
        governed = _GOVERNED if self.governed_only else {}
        if self.params is None:
            return [self._binding(self.full_name, governed)]
        if not self.params.name:
            return [self._binding(self.full_name, governed, {"selector": {}, "parameterNotFoundAction": "Allow"})]
        return [
            self._binding(
                name,
                {**governed, "resourceRules": [replace(rule, operations=(operation,)).to_manifest() for rule in self.requests]},
                {"name": self.params.name, "parameterNotFoundAction": missing},
            )
            for name, operation, missing in (
                (self.full_name, "CREATE", MISSING),
                (f"{self.name}-changed.{GROUP_NAME}", "UPDATE", "Allow"),
            )
        ]

    def _binding(self, name: str, matching: dict[str, Any], params: dict[str, Any] | None = None) -> dict[str, Any]:
        spec = {
            "policyName": self.full_name,
            "validationActions": ACTIONS,
            **({"paramRef": params} if params else {}),
            **({"matchResources": matching} if matching else {}),
        }
        return self._manifest("ValidatingAdmissionPolicyBinding", name, spec)

    def _spec(self) -> dict[str, Any]:
        conditions = [{"name": name, "expression": expression} for name, expression in self.when.items()]
        return {
            "failurePolicy": "Fail",
            **({"paramKind": {"apiVersion": self.params.api_version, "kind": self.params.kind}} if self.params else {}),
            "matchConstraints": {
                "matchPolicy": "Equivalent",
                # Without the kind of its parameters a policy refuses all that it matches, whatever its bindings say.
                **(_GOVERNED if self.governed_only and self.params else {}),
                "resourceRules": [rule.to_manifest() for rule in self.requests],
            },
            **({"matchConditions": conditions} if conditions else {}),
            "variables": [
                *({"name": name, "expression": expression} for name, expression in self.variables.items()),
                *(validation.line for validation in self.validations),
            ],
            "validations": [validation.to_manifest(self.message) for validation in self.validations],
        }

    @staticmethod
    def _manifest(kind: str, name: str, spec: dict[str, Any]) -> dict[str, Any]:
        return {"apiVersion": "admissionregistration.k8s.io/v1", "kind": kind, "metadata": {"name": name}, "spec": spec}
