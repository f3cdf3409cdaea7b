"""The example's job and deployment on a real node, applied together; training and steps are shorter, and nothing else is changed."""

from collections.abc import Iterator

import pytest

from demo.kubectl import Kubectl
from tests.e2e.adapterdeployment.served import KEY, NAME, Served, example
from tests.e2e.tenant import NAMESPACE, Tenant

KEYS_SECRET = "finetune-router-keys"
SHORT = {"training": {"epochs": None, "maxSteps": 75}, "evaluation": {"maxItems": 20}}
STEPS = [{"shadow": {"percent": 50}}, {"weight": 30}, {"weight": 60}]
QUICK = {
    "strategy": {"canary": {"steps": [{**step, "bakeSeconds": 1, "analysis": ["Errors", "Schema"]} for step in STEPS]}},
    "analysis": {"minRequests": 5},
    "rollback": {"drainTimeoutSeconds": 5},
}
"""Latencies on a shared machine are no matter of these tests."""


@pytest.fixture(scope="package")
def served(tenant: Tenant, kubectl: Kubectl) -> Iterator[Served]:
    """The deployment, and a Secret with a caller's key; they go with the last test, and what they ran as goes with them."""
    found = Served(kubectl)
    keys = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": KEYS_SECRET, "namespace": NAMESPACE}, "stringData": {"alice": KEY}}
    found.apply(keys)
    found.delete()
    tenant.start(example("finetunejob-tiny.yaml", **SHORT))
    found.apply(example("adapterdeployment-tiny.yaml", **QUICK))
    yield found
    found.delete()
    kubectl.run("delete", "secret", KEYS_SECRET, "-n", NAMESPACE)
    tenant.delete(NAME)
