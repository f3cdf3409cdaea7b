"""A policy's status counts AdapterDeployments too, by an operator that serves: alone, since another one would count none and say so."""

from pathlib import Path

from finetune_operator.api.base import API_VERSION
from finetune_operator.api.crd import ADAPTERDEPLOYMENT
from finetune_testbed.bed import Testbed
from tests.cluster import crd, operator_process
from tests.cluster.governance.conftest import ARGUMENTS
from tests.cluster.governance.test_standings import policy_status
from tests.cluster.governed_site import Site
from tests.cluster.operator_process import until

KIND = {"apiVersion": API_VERSION, "kind": ADAPTERDEPLOYMENT.kind}


def test_deployments_are_counted_too(t2: Testbed, site: Site, tmp_path: Path) -> None:
    here = site.here
    crd.install(here.server, ADAPTERDEPLOYMENT)
    with operator_process.running(t2.kubeconfig, tmp_path, (*ARGUMENTS, "--serving")):
        site.demand()
        site.submit("tickets")
        assert here.wait_ended("tickets") == "Succeeded"
        spec = {"modelName": "tickets", "adapter": {"fineTuneJobRef": {"name": "tickets"}}, "baseModel": {"uri": "pvc://models/tiny-chat"}}
        labels = {"finetune.dev/level": "secret", "finetune.dev/residency": "any"}
        document = {**KIND, "metadata": {"name": "tickets", "labels": labels}, "spec": {**spec, "server": {"managed": {}}}}
        path = here.path(ADAPTERDEPLOYMENT.plural, group=API_VERSION)
        here.server.request("POST", path, document)
        until(lambda: (policy_status(site).get("deployments") or {}).get("denied") == 1)
        assert policy_status(site)["jobs"]["allowed"] == 1
        here.server.request("DELETE", f"{path}/tickets")
        until(lambda: (policy_status(site).get("deployments") or {}).get("denied") == 0)
