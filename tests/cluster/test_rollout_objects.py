"""What serving runs as: made by the real operator on a real API server, which checks every manifest, and gone with the last deployment."""

from contextlib import AbstractContextManager
from pathlib import Path

from finetune_operator.api.base import LABEL_DEPLOYMENT, LABEL_SERVING_ROLE
from finetune_testbed.apiserver import MERGE
from finetune_testbed.audit import tally
from finetune_testbed.bed import Testbed
from tests.cluster import operator_process, serving_site
from tests.cluster.checked_site import checker
from tests.cluster.operator_process import OperatorProcess, until
from tests.cluster.rest import writes_at_rest
from tests.cluster.serving_site import FAST, NAME, Site

KINDS = {
    "deployments": "apps/v1",
    "services": "",
    "serviceaccounts": "",
    "roles": "rbac.authorization.k8s.io/v1",
    "rolebindings": "rbac.authorization.k8s.io/v1",
    "networkpolicies": "networking.k8s.io/v1",
    "poddisruptionbudgets": "policy/v1",
}
SERVERS = {"engine": "Transformers", "replicas": 1}


def running(site: Site, folder: Path, *arguments: str) -> AbstractContextManager[OperatorProcess]:
    return operator_process.running(site.place.bed.kubeconfig, folder, ("--namespace", site.place.namespace, *arguments))


def objects(site: Site) -> set[tuple[str, str]]:
    found = set()
    for plural, group in KINDS.items():
        items = site.place.server.request("GET", site.place.path(plural, group=group))["items"]
        found |= {(plural, item["metadata"]["name"]) for item in items}
    return found - {("serviceaccounts", "default")}


def test_objects_come_with_a_deployment_and_go_with_the_last_one(t1: Testbed, tmp_path: Path) -> None:
    arguments = (*FAST, "--inference-image", "registry.invalid/finetune-inference:test", "--rollout-rest-seconds", "1")
    with serving_site.site(t1, tmp_path) as site, checker(site), running(site, tmp_path, *arguments) as operator:
        adapter = site.publish(1)
        site.apply(adapter, server={"managed": SERVERS})
        site.wait_phase("Healthy")
        made = objects(site)
        assert {("deployments", "finetune-router"), ("deployments", f"server-{NAME}"), ("services", "finetune-router")} <= made
        path = site.place.path("deployments", f"server-{NAME}", "apps/v1")
        server = site.place.server.request("GET", path)
        assert server["metadata"]["ownerReferences"][0]["uid"] == site.get()["metadata"]["uid"]
        labels = server["spec"]["template"]["metadata"]["labels"]
        assert (labels[LABEL_SERVING_ROLE], labels[LABEL_DEPLOYMENT]) == ("server", NAME)
        router = site.place.server.request("GET", site.place.path("deployments", "finetune-router", "apps/v1"))
        assert router["spec"]["template"]["metadata"]["labels"][LABEL_SERVING_ROLE] == "router"

        written = writes_at_rest(t1, site.place.namespace, operator, 4)
        assert written == [], tally(written)

        site.place.server.request("PATCH", site.path(NAME), {"spec": {"server": {"managed": {"replicas": 3}}}}, MERGE)
        until(lambda: site.place.server.request("GET", path)["spec"]["replicas"] == 3)
        site.delete()
        until(site.gone)
        assert {(plural, name) for plural, name in objects(site) if "finetune-" in name} == set()


def test_a_mistake_about_the_servers_is_told_with_its_remedy(t1: Testbed, tmp_path: Path) -> None:
    arguments = (*FAST, "--inference-image", "registry.invalid/finetune-inference:test")
    with serving_site.site(t1, tmp_path, servers=0) as site, checker(site), running(site, tmp_path, *arguments):
        site.apply(site.publish(1), server={"managed": {"engine": "vLLM"}})
        until(lambda: site.condition("Ready").get("reason") == "ServersRefused")
        assert "spec.server.managed.image is not set" in site.condition("Ready")["message"]
        site.apply(site.publish(2), server={"managed": SERVERS})
        until(lambda: "there is no server pod" in site.condition("Ready").get("message", ""))
