"""The router behind a Gateway: the real operator on a real API server, which has the kind HTTPRoute or has it not.

No Gateway implementation runs here: what its controller would write into the route's status, the tests write.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from finetune_operator.cluster.resources import HTTP_ROUTES
from finetune_testbed.apiserver import MERGE
from finetune_testbed.audit import tally
from finetune_testbed.bed import Testbed
from finetune_testbed.proxy import Moment, Proxy, Strike, kill
from tests.cluster import gateway_api, operator_process, serving_site
from tests.cluster.checked_site import checker
from tests.cluster.gateway_api import Gateway
from tests.cluster.operator_process import OperatorProcess, until
from tests.cluster.rest import WRITER, wait_idle, writes_at_rest
from tests.cluster.serving_site import FAST, NAME, Site

ARGUMENTS = (*FAST, "--inference-image", "registry.invalid/finetune-inference:test", "--rollout-audit-seconds", "0.5")
SERVERS = {"managed": {"engine": "Transformers", "replicas": 1}}
HOST = "bot.example.com"
TRAFFIC: dict[str, Any] = {"httpRoute": {"parentRefs": [{"name": "public", "namespace": "infra"}], "hostnames": [HOST]}}


@pytest.fixture
def site(t1: Testbed, tmp_path: Path) -> Iterator[Site]:
    with serving_site.site(t1, tmp_path) as here:
        yield here


def running(site: Site, folder: Path) -> AbstractContextManager[OperatorProcess]:
    return operator_process.running(site.place.bed.kubeconfig, folder, ("--namespace", site.place.namespace, *ARGUMENTS))


def wait_exposed(site: Site, reason: str) -> str:
    """Until the condition has this reason for the present generation; its message."""

    def look() -> bool:
        condition = site.condition("Exposed")
        return condition.get("reason") == reason and condition["observedGeneration"] == site.get()["metadata"]["generation"]

    until(look)
    message: str = site.condition("Exposed")["message"]
    return message


def test_a_route_is_made_told_repaired_and_removed_with_or_without_the_gateway_api(site: Site, tmp_path: Path) -> None:
    gateway, adapter = Gateway(site.place, NAME), site.publish(1)
    with checker(site), running(site, tmp_path) as operator:
        site.apply(adapter, server=SERVERS, traffic=TRAFFIC)
        site.wait_phase("Healthy")
        assert "Install the Gateway API" in wait_exposed(site, "GatewayApiMissing")
        assert site.condition("Ready")["status"] == "True"
        assert "see the condition Exposed" in site.condition("Ready")["message"]
        written = writes_at_rest(site.place.bed, site.place.namespace, operator, 4)
        assert written == [], tally(written)
        with gateway_api.installed(site.place.server, site.place):
            until(lambda: "Gateway infra/public has yet to answer" in site.condition("Exposed")["message"])
            made = gateway.route()
            assert made["metadata"]["ownerReferences"][0]["uid"] == site.get()["metadata"]["uid"]
            assert [each["manager"] for each in made["metadata"]["managedFields"]] == [WRITER]
            backend = made["spec"]["rules"][0]["backendRefs"][0]
            service = site.place.server.request("GET", site.place.path("services", backend["name"]))
            assert backend["port"] in {port["port"] for port in service["spec"]["ports"]}
            assert made["spec"]["hostnames"] == [HOST]

            gateway.say(Accepted=("False", "NotAllowedByListeners", "no listener takes namespace x"))
            message = wait_exposed(site, "GatewayRefuses")
            assert message == "Gateway infra/public says Accepted False, NotAllowedByListeners: no listener takes namespace x"
            gateway.say(ResolvedRefs=("False", "BackendNotFound", "no such Service"))
            until(lambda: "BackendNotFound" in site.condition("Exposed")["message"])
            gateway.say()
            wait_exposed(site, "Exposed")
            written = writes_at_rest(site.place.bed, site.place.namespace, operator, 4)
            assert written == [], tally(written)

            other = {"httpRoute": {**TRAFFIC["httpRoute"], "hostnames": ["other.example.com"]}}
            site.apply(adapter, server=SERVERS, traffic=other)
            until(lambda: gateway.route()["spec"]["hostnames"] == ["other.example.com"])
            wait_exposed(site, "Exposing")  # the Gateway's word was about the route before
            gateway.say()
            wait_exposed(site, "Exposed")

            edited = [{"matches": [{"path": {"type": "PathPrefix", "value": "/"}}], "backendRefs": [backend]}]
            site.place.server.request("PATCH", gateway.path, {"spec": {"rules": edited}}, MERGE)
            until(lambda: gateway.route()["spec"] == {**made["spec"], "hostnames": ["other.example.com"]})
            site.place.server.request("DELETE", gateway.path)
            until(gateway.route)
            gateway.say()
            wait_exposed(site, "Exposed")

            site.apply(adapter, server=SERVERS)
            until(lambda: not site.condition("Exposed"))
            assert gateway.route() == {}
            assert site.condition("Ready")["message"].endswith("answers all callers")
            site.apply(adapter, server=SERVERS, traffic=TRAFFIC)
            until(gateway.route)
        wait_exposed(site, "GatewayApiMissing")


def is_a(verb: str) -> Any:
    return lambda call: (call.verb, call.resource) == (verb, HTTP_ROUTES.plural)


def test_the_operator_may_die_after_either_write_and_leaves_what_is_somebody_elses(t1: Testbed, site: Site, tmp_path: Path) -> None:
    gateway, adapter = Gateway(site.place, NAME), site.publish(1)
    theirs = {"apiVersion": HTTP_ROUTES.api_version, "kind": HTTP_ROUTES.kind, "metadata": {"name": f"finetune-{NAME}"}, "spec": {}}
    with Proxy(t1) as proxy, checker(site), gateway_api.installed(site.place.server, site.place):
        kubeconfig = proxy.write_kubeconfig(tmp_path / "proxied.kubeconfig")
        arguments = ("--namespace", site.place.namespace, *ARGUMENTS)
        operator = operator_process.start(kubeconfig, tmp_path, arguments)
        try:
            site.place.server.request("POST", gateway.path.rpartition("/")[0], theirs)
            site.apply(adapter, server=SERVERS, traffic=TRAFFIC)
            assert "belongs to somebody else. Rename or delete it." in wait_exposed(site, "RouteRefused")
            assert gateway.route()["spec"] == {}

            twice = [{"name": "inner"}, {"name": "inner", "namespace": site.place.namespace}]
            site.apply(adapter, server=SERVERS, traffic={"httpRoute": {"parentRefs": twice}})
            site.place.server.request("DELETE", gateway.path)
            until(lambda: "each parent once" in site.condition("Exposed")["message"])
            assert wait_exposed(site, "RouteRefused").startswith("the API server does not take HTTPRoute finetune-tickets: spec.parentRefs")
            wait_idle(operator, 6)
            sent = len([call for call in proxy.calls if is_a("patch")(call)])
            assert 1 <= sent < 6, "what is refused is sent again after a minute, and not at every look"

            proxy.set_strike(Strike(1, kill(operator.pid), Moment.COMMITTED, is_a("patch")))
            site.apply(adapter, server=SERVERS, traffic=TRAFFIC)
            until(lambda: proxy.has_struck)
            operator.process.wait()
            assert gateway.route(), "it was made, and nobody has told"
            proxy.set_strike(None)
            site.apply(adapter, server=SERVERS)
            operator = operator_process.start(kubeconfig, tmp_path, arguments)
            until(lambda: not gateway.route())

            site.apply(adapter, server=SERVERS, traffic=TRAFFIC)
            wait_exposed(site, "Exposing")
            proxy.set_strike(Strike(1, kill(operator.pid), Moment.COMMITTED, is_a("delete")))
            site.apply(adapter, server=SERVERS)
            until(lambda: proxy.has_struck)
            operator.process.wait()
            assert site.condition("Exposed"), "it is gone, and nobody has told"
            proxy.set_strike(None)
            operator = operator_process.start(kubeconfig, tmp_path, arguments)
            until(lambda: not site.condition("Exposed"))
            assert gateway.route() == {}
        finally:
            operator.stop()
