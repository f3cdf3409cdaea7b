"""How the operator shuts a run in, on a real API server with fake nodes: network policy, nodes, and what the probe of egress said."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from finetune_testbed import outcomes
from finetune_testbed.bed import Testbed
from finetune_testbed.outcomes import PodOutcome
from tests.cluster import governed_site
from tests.cluster.finetunejobs import Object, Place
from tests.cluster.governed_site import Site
from tests.cluster.operator_process import OperatorProcess, until


def class_of(here: Place) -> str:
    """A label of nodes that no other test looks at."""
    return f"{here.namespace}.node-restriction.kubernetes.io/class"


@pytest.fixture
def site(t2: Testbed) -> Iterator[Site]:
    with governed_site.site(t2) as made:
        yield made


@pytest.fixture
def operator(site: Site, tmp_path: Path) -> Iterator[OperatorProcess]:
    with governed_site.governing(site.here, tmp_path) as process:
        yield process


def label_node(here: Place, name: str, value: str | None) -> None:
    here.server.request("PATCH", f"/api/v1/nodes/{name}", {"metadata": {"labels": {class_of(here): value}}}, "application/merge-patch+json")


@contextmanager
def labelled_node(here: Place) -> Iterator[str]:
    name = str(here.server.request("GET", "/api/v1/nodes")["items"][0]["metadata"]["name"])
    label_node(here, name, "a")
    try:
        yield name
    finally:
        label_node(here, name, None)


def running(here: Place, job: str, step: str) -> Object:
    labels = {"finetune.dev/step": step}
    found: Object = until(
        lambda: next(
            (
                pod
                for pod in here.pods(job)
                if labels.items() <= pod["metadata"]["labels"].items()
                and pod["status"].get("phase") == "Running"
                and not pod["metadata"].get("deletionTimestamp")
            ),
            None,
        )
    )
    return found


def test_a_node_relabelled_after_binding_loses_the_pod_and_without_another_nothing_begins(operator: OperatorProcess, site: Site) -> None:
    here = site.here
    site.demand(nodeLabels=[{"key": class_of(here), "values": ["a"]}])
    site.submit("bound")
    assert "nodes" in here.wait_reason("bound", "NoCompliantNode")["message"]
    assert here.jobs("bound") == []
    with labelled_node(here) as node:
        holding = PodOutcome(hold=True)
        with outcomes.played(here.bed, {"finetune.dev/step": "train"}, holding, name=here.namespace, namespace=here.namespace):
            pod = running(here, "bound", "train")
            assert pod["spec"]["nodeName"] == node
            label_node(here, node, "stolen")
            assert here.wait_reason("bound", "NoCompliantNode")["status"] == "False"
            until(lambda: all(each["status"].get("phase") != "Running" for each in here.pods("bound")))
            assert here.status("bound")["currentRun"]["interruption"]["reason"] == "ResidencyViolation"
            here.wait_event("bound", "ResidencyViolation")
            label_node(here, node, "a")
            again = running(here, "bound", "train")
            assert again["metadata"]["labels"]["finetune.dev/attempt"] == "2"
        outcomes.release(here.bed, here.namespace, again["metadata"]["name"])
        assert here.wait_ended("bound") == "Succeeded"
