"""Over all that pods of this session did, from preparing to serving: none tried an address or a name outside."""

from demo.environment import Environment
from finetune_testbed.bed import Testbed
from finetune_testbed.node.outward import Watch
from tests.e2e.cluster import Cluster
from tests.e2e.tenant import NAMESPACE, Tenant, manifest

DIALS = """
import socket
try:
    socket.create_connection(("198.51.100.7", 443), timeout=2)
except OSError:
    pass
try:
    socket.getaddrinfo("updates.example.org", 443)
except OSError:
    pass
"""
"""198.51.100.7 is of TEST-NET-2 (RFC 5737)."""


def test_no_pod_has_tried_to_reach_anything_outside_the_cluster(tenant: Tenant, outward: Watch) -> None:
    told = tenant.kubectl.get("events", "-n", NAMESPACE).get("items", [])
    if not any(event["reason"] == "RunSucceeded" for event in told):  # this test alone
        tenant.start(manifest("quiet"))
        tenant.wait_for("quiet", "Ready")
        tenant.delete("quiet")
    assert outward.attempts() == []
    assert outward.names() == []


def test_one_that_does_is_seen(t3: Testbed, tenant: Tenant, outward: Watch, installed: Environment) -> None:
    cluster = Cluster(t3, "dials-out")
    assert cluster.run_job("dials", installed.trainer_image, "python3", "-c", DIALS) == 0
    assert ("198.51.100.7", "tcp", 443) in {(attempt.destination, attempt.protocol, attempt.port) for attempt in outward.attempts()}
    assert "updates.example.org" in outward.names()
    cluster.kubectl("delete", "namespace", "dials-out", "--wait=false")
