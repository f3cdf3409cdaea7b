"""How the pods of a T2 testbed end, decided from outside by a test.

The operator knows no test mode, so nothing in its objects says how a fake pod ends. A `PodOutcome` is written onto
matching pods as they are created, by a MutatingAdmissionPolicy: the API server itself, no webhook. What no outcome
matches ends at once, and well.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from finetune_testbed.apiserver import MERGE, ApiServer, RequestError
from finetune_testbed.bed import Testbed

PREFIX = "testbed.finetune.dev/"
POLICIES = "/apis/admissionregistration.k8s.io/v1/mutatingadmissionpolicies"
BINDINGS = "/apis/admissionregistration.k8s.io/v1/mutatingadmissionpolicybindings"
EFFECTIVE_SECONDS = 120.0


class OutcomeError(RuntimeError):
    """The API server did not take up an outcome in time."""


@dataclass(frozen=True)
class PodOutcome:
    """The life of a fake pod; what is None keeps its default (runs 0 s, exits 0, the step's usual message)."""

    run_seconds: float | None = None
    exit_code: int | None = None
    reason: str | None = None
    termination_message: str | None = None
    start_seconds: float | None = None
    """Time between scheduling and running."""
    hold: bool = False
    """Run until `release`."""
    waiting_reason: str | None = None
    """Stay Pending with this container reason, such as ImagePullBackOff."""
    waiting_message: str | None = None
    init_exit_code: int | None = None
    """Fail in an init container, before any other runs."""
    init_message: str | None = None
    """What the preflight says last (of one that probes egress: that nothing answered)."""
    term_exit_code: int | None = None
    """Exit code when deleted while running (143)."""
    term_message: str | None = None
    term_seconds: float | None = None

    def annotations(self) -> dict[str, str]:
        """As the Stages in `testbed/stages` read them."""
        texts = {
            "run-millis": _millis(self.run_seconds),
            "exit-code": _text(self.exit_code),
            "reason": self.reason,
            "termination-message": self.termination_message,
            "start-millis": _millis(self.start_seconds),
            "hold": "true" if self.hold else None,
            "waiting-reason": self.waiting_reason,
            "waiting-message": self.waiting_message,
            "init-exit-code": _text(self.init_exit_code),
            "init-message": self.init_message,
            "term-exit-code": _text(self.term_exit_code),
            "term-message": self.term_message,
            "term-millis": _millis(self.term_seconds),
        }
        return {PREFIX + key: value for key, value in texts.items() if value is not None}


@contextmanager
def played(
    bed: Testbed,
    labels: Mapping[str, str],
    outcome: PodOutcome,
    *,
    name: str = "testbed-outcome",
    namespace: str | None = None,
    conditions: Sequence[str] = (),
) -> Iterator[None]:
    """While inside, pods created with these labels end as `outcome` says.

    `conditions` are further CEL expressions over `object` (the pod) that must hold.

    Raises:
        OutcomeError: the policy was not in effect after `EFFECTIVE_SECONDS`.
    """
    install(bed, labels, outcome, name=name, namespace=namespace, conditions=conditions)
    try:
        yield
    finally:
        remove(bed, name)


def install(
    bed: Testbed,
    labels: Mapping[str, str],
    outcome: PodOutcome,
    *,
    name: str = "testbed-outcome",
    namespace: str | None = None,
    conditions: Sequence[str] = (),
) -> None:
    """Like `played`, until `remove`; a second call with the same name replaces the first."""
    policy = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingAdmissionPolicy",
        "metadata": {"name": name},
        "spec": {
            "failurePolicy": "Fail",
            "reinvocationPolicy": "Never",
            "matchConstraints": {
                "objectSelector": {"matchLabels": dict(labels)},
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}} if namespace else {},
                "resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"], "operations": ["CREATE"]}],
            },
            "matchConditions": [{"name": f"condition-{number}", "expression": expression} for number, expression in enumerate(conditions)],
            "mutations": [{"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": _mutation(outcome, name)}}],
        },
    }
    binding = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingAdmissionPolicyBinding",
        "metadata": {"name": name},
        "spec": {"policyName": name},
    }
    with ApiServer(bed) as server:
        server.apply(f"{POLICIES}/{name}", policy)
        server.apply(f"{BINDINGS}/{name}", binding)
        if not conditions:
            _wait_until_effective(server, labels, outcome, name, namespace or "default")


def remove(bed: Testbed, name: str = "testbed-outcome") -> None:
    with ApiServer(bed) as server:
        for path in (BINDINGS, POLICIES):
            try:
                server.request("DELETE", f"{path}/{name}")
            except RequestError as error:
                if error.status != 404:
                    raise


def release(bed: Testbed, namespace: str, pod: str, outcome: PodOutcome | None = None) -> None:
    """Let a held or waiting pod go on, and end as `outcome` says."""
    annotations: dict[str, str | None] = dict.fromkeys((f"{PREFIX}hold", f"{PREFIX}waiting-reason"))
    annotations.update((outcome or PodOutcome()).annotations())
    with ApiServer(bed) as server:
        path = f"/api/v1/namespaces/{namespace}/pods/{pod}"
        server.request("PATCH", path, {"metadata": {"annotations": annotations}}, MERGE)


def _mutation(outcome: PodOutcome, name: str) -> str:
    # JSON strings are CEL strings. The policy's own name on the pod tells later who decided.
    annotations = json.dumps({**outcome.annotations(), f"{PREFIX}outcome": name})
    return f"Object{{metadata: Object.metadata{{annotations: {annotations}}}}}"


def _wait_until_effective(server: ApiServer, labels: Mapping[str, str], outcome: PodOutcome, name: str, namespace: str) -> None:
    """Admission learns of a new policy from a watch: try dry runs until one shows the annotations."""
    wanted = {**outcome.annotations(), f"{PREFIX}outcome": name}
    pod: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"generateName": "testbed-outcome-", "labels": dict(labels)},
        "spec": {
            "restartPolicy": "Never",
            "securityContext": {"runAsNonRoot": True, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [
                {
                    "name": "main",
                    "image": "fake.invalid/nothing:1",
                    "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
                }
            ],
        },
    }
    deadline = time.monotonic() + EFFECTIVE_SECONDS
    seen: dict[str, str] = {}
    while time.monotonic() < deadline:
        answer = server.request("POST", f"/api/v1/namespaces/{namespace}/pods?dryRun=All", pod)
        seen = answer["metadata"].get("annotations", {})
        if seen.items() >= wanted.items():
            return
        time.sleep(0.05)
    raise OutcomeError(f"policy {name} was not in effect after {EFFECTIVE_SECONDS:.0f} s; a dry run shows {seen}")


def _millis(seconds: float | None) -> str | None:
    return None if seconds is None else str(round(seconds * 1000))


def _text(number: int | None) -> str | None:
    return None if number is None else str(number)
