"""The release with governance, for these tests alone. Probes of egress try what nobody else may try."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from demo.environment import Environment
from demo.install import NAMESPACE as OPERATOR_NAMESPACE
from demo.install import install
from demo.kubectl import Kubectl
from finetune_testbed.node import outside
from finetune_testbed.node.outward import Watch
from tests.cluster import signed_site
from tests.e2e.conftest import PACE, PIN_SECRET
from tests.e2e.governance.governed import RECORDS, operators

SECRET = "finetune-signing"
PROBE = {"target": f"{outside.ADDRESS}:{outside.PORT}", "withinSeconds": 2, "everySeconds": 1}
GOVERNED = (
    "serving.router.replicas=1",
    "governance.enabled=true",
    f"governance.signing.secretName={SECRET}",
    *(f"governance.egressProbe.{name}={value}" for name, value in PROBE.items()),
)


@pytest.fixture(scope="package", autouse=True)
def probing(outward: Watch) -> Iterator[None]:
    """As long as a release with probes is there: its operator tries the target too, also between the tests and after them."""
    with outward.looking_away():
        yield


@pytest.fixture(scope="package")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return signed_site.write_key(tmp_path_factory.mktemp("key"))


@pytest.fixture(scope="package")
def governing_release(installed: Environment, kubectl: Kubectl, key: Path, probing: None) -> Iterator[Environment]:
    """With a signing key, and a target outside for its probes; afterwards the release is as it was, and no operator of before is left."""
    pin = f"serving.pinSecret={PIN_SECRET}"
    kubectl.run("create", "secret", "generic", SECRET, "-n", OPERATOR_NAMESPACE, f"--from-file=signing.pem={key}")
    install(installed, print, *PACE, pin, *GOVERNED)
    yield installed
    probed = [f"pod/{pod['metadata']['name']}" for pod in operators(kubectl)]
    install(installed, print, *PACE, pin)
    kubectl.run("wait", "-n", OPERATOR_NAMESPACE, "--for=delete", *probed, "--timeout=120s")
    kubectl.run("delete", "secret", SECRET, "-n", OPERATOR_NAMESPACE)
    kubectl.run("delete", "namespace", RECORDS, "--wait=true")
