"""A field that is accepted and does nothing is a defect: each one changes an object, or is read by who is named here.

What decides about rollouts is in `tests/serving/rollout/test_every_field_counts.py`.
"""

import copy
from dataclasses import fields
from typing import Any

import pytest

from finetune_operator.api.crd import ADAPTERDEPLOYMENT
from finetune_operator.manifests.serving import (
    CheckOrder,
    JsonObject,
    ServingSettings,
    build_check_job,
    build_merge_job,
    namespace_objects,
    server_objects,
    server_selector,
)
from tests.unit.api.test_every_field_counts import leaves
from tests.unit.manifests.serving.samples import DIGEST, EXTERNAL, FULL, MERGED, ORDER, OWNER, SETTINGS, SMALL, read

OTHER: dict[str, Any] = {
    "spec.baseModel.uri": "pvc://other/model",
    "spec.server.managed.engine": "Transformers",
    "spec.server.managed.image": "registry.example/third:3",
    "spec.server.managed.replicas": 4,
    "spec.server.managed.resources.gpus": 3,
    "spec.server.managed.resources.gpuResourceName": "example.com/npu",
    "spec.server.managed.resources.nodeSelector": {"zone": "b"},
    "spec.server.managed.resources.tolerations[].key": "other",
    "spec.server.managed.resources.tolerations[].operator": "Equal",
    "spec.server.managed.resources.tolerations[].value": "other",
    "spec.server.managed.resources.tolerations[].effect": "NoExecute",
    "spec.server.managed.resources.tolerations[].tolerationSeconds": 60,
    "spec.server.managed.args": ["--max-model-len", "1024"],
    "spec.server.capacity.maxLoras": 4,
    "spec.server.capacity.maxCpuLoras": 7,
    "spec.server.capacity.maxLoraRank": 200,
    **{f"spec.server.managed.resources.{kind}.{name}": "7" for kind in ("requests", "limits") for name in ("cpu", "memory")},
    **{f"spec.server.managed.resources.{kind}.ephemeral-storage": "7Gi" for kind in ("requests", "limits")},
}
"""Another value for each field that the objects tell."""

OF_THE_MERGE: dict[str, Any] = {
    "spec.merge.uri": "pvc://other/place",
    **{f"spec.merge.resources.{kind}.{name}": "7" for kind in ("requests", "limits") for name in ("cpu", "memory", "ephemeral-storage")},
}

READ_ELSEWHERE = {
    "spec.baseModel.digest": "the agent, in the AdapterDeployment that it watches",
    "spec.server.external.matchLabels": "server_selector",
    "spec.server.external.port": "the router, in the AdapterDeployments that it watches; tests/serving/rollout/test_pushing.py",
    "spec.server.external.adapterMountPath": "the operator when it pushes; tests/serving/rollout/test_pushing.py",
    "spec.server.external.baseModelName": "the operator when it pushes; tests/serving/rollout/test_pushing.py",
}
SPEC = ADAPTERDEPLOYMENT.to_manifest()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
LEAVES = {path for path, _ in leaves(SPEC, "spec") if path.startswith(("spec.server.", "spec.baseModel."))}


def changed(path: str, value: Any, full: dict[str, Any] = FULL) -> JsonObject:
    spec: dict[str, Any] = copy.deepcopy(full)
    place: Any = spec
    *parents, leaf = path.removeprefix("spec.").split(".")
    for parent in parents:
        place = place[parent[:-2]][0] if parent.endswith("[]") else place.setdefault(parent, {})
    assert place.get(leaf) != value, "the other value is the one it had"
    place[leaf] = value
    return spec


def test_every_field_is_either_told_or_read_elsewhere():
    assert OTHER.keys() | READ_ELSEWHERE.keys() == LEAVES
    assert not OTHER.keys() & READ_ELSEWHERE.keys()


@pytest.mark.parametrize("path", sorted(OTHER))
def test_a_field_changes_the_objects(path: str):
    before = server_objects(OWNER, read(FULL), SETTINGS)
    assert before
    assert server_objects(OWNER, read(changed(path, OTHER[path])), SETTINGS) != before


def test_the_capacity_of_the_server_of_ours_is_told_too():
    """All that it holds it computes in one batch, so that one number is enough."""
    before = server_objects(OWNER, read(SMALL), SETTINGS)
    for name, value in (("maxCpuLoras", 20), ("maxLoraRank", 8)):
        assert server_objects(OWNER, read({**SMALL, "server": {"managed": {}, "capacity": {name: value}}}), SETTINGS) != before


def test_every_field_of_the_merge_is_told():
    assert OF_THE_MERGE.keys() == {path for path, _ in leaves(SPEC, "spec") if path.startswith("spec.merge.")}


@pytest.mark.parametrize("path", sorted(OF_THE_MERGE))
def test_a_field_of_the_merge_changes_its_job(path: str):
    before = build_merge_job(OWNER, read(MERGED), ORDER, SETTINGS)
    assert build_merge_job(OWNER, read(changed(path, OF_THE_MERGE[path], MERGED)), ORDER, SETTINGS) != before


def test_labels_of_ones_own_pods_change_where_they_are_looked_for():
    other = {**EXTERNAL, "server": {"external": {"matchLabels": {"app": "other"}, "adapterMountPath": "/adapters"}}}
    assert server_selector(OWNER, read(other)) != server_selector(OWNER, read(EXTERNAL))


def test_other_parts_of_the_spec_that_the_objects_tell():
    before = server_objects(OWNER, read(FULL), SETTINGS)
    other = {**FULL, "adapter": {"uri": "pvc://elsewhere/tickets", "digest": DIGEST}}
    assert server_objects(OWNER, read(other), SETTINGS) != before
    assert server_objects(OWNER, read({**FULL, "progressDeadlineSeconds": 61}), SETTINGS) != before


OTHER_SETTINGS: dict[str, Any] = {
    "inference_image": "other",
    "trainer_image": "other",
    "finished_job_ttl_seconds": 60,
    "image_pull_policy": "Never",
    "image_pull_secrets": ("other",),
    "default_vllm_image": "other",
    "router_replicas": 7,
    "router_workers": 7,
    "require_api_keys": True,
    "pin_secret": "other",
    "network_policies": False,
    "operator_namespace": "other",
    "operator_labels": {"app": "other"},
    "clients_from": ({"podSelector": {}},),
    "metrics_from": ({"podSelector": {}},),
    "api_server_ports": (1234,),
    "api_server_cidrs": ("10.9.9.9/32",),
    "reads_records": True,
    "record_keys": ("other",),
}


@pytest.mark.parametrize("name", [field.name for field in fields(ServingSettings)])
def test_a_setting_changes_the_objects(name: str):
    vllm = read({**SMALL, "server": {"managed": {"engine": "vLLM"}}})
    everything = [
        (
            *server_objects(OWNER, vllm, settings),
            build_merge_job(OWNER, read(MERGED), ORDER, settings),
            build_check_job(OWNER, vllm, CheckOrder(1, "pvc://adapters/one", DIGEST), settings),
            *namespace_objects("support", settings),
        )
        for settings in (SETTINGS, ServingSettings(**{"inference_image": SETTINGS.inference_image, name: OTHER_SETTINGS[name]}))
    ]
    assert everything[0] != everything[1]
