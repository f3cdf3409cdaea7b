"""The Job that reads an adapter's files: what it asks, what it sees, and what it may do."""

from pathlib import Path
from typing import Any

import pytest

from finetune_inference.cli.preflight import _parser
from finetune_operator.manifests.serving import JsonObject, build_merge_job, check_basis
from tests.unit.manifests.serving.samples import (
    CHECK_ORDER,
    DIGEST,
    EXTERNAL,
    FULL,
    MERGE_SETTINGS,
    MERGED,
    ONE_CLAIM,
    ORDER,
    OWNER,
    SETTINGS,
    SMALL,
    check,
    of_kind,
    read,
)

TYPED = {"uri": CHECK_ORDER.uri, "digest": CHECK_ORDER.digest}
SPECS: dict[str, dict[str, Any]] = {
    "small": SMALL,
    "full": FULL,
    "one claim": ONE_CLAIM,
    "of one's own": EXTERNAL,
    "from the hub": {**EXTERNAL, "baseModel": {"uri": "hf://org/model@main"}},
}


def job(name: str) -> JsonObject:
    return of_kind(check(SPECS[name], SETTINGS), "Job")


def pod(name: str) -> JsonObject:
    found: JsonObject = job(name)["spec"]["template"]["spec"]
    return found


@pytest.mark.parametrize("name", SPECS)
def test_it_runs_restricted_once_and_without_a_token(name: str):
    (container,) = pod(name)["containers"]
    assert pod(name)["automountServiceAccountToken"] is False
    assert pod(name)["securityContext"]["runAsNonRoot"] is True
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert (job(name)["spec"]["backoffLimit"], pod(name)["restartPolicy"]) == (0, "Never")


@pytest.mark.parametrize("name", SPECS)
def test_claims_are_one_volume_each_and_read_only(name: str):
    claims = [volume["persistentVolumeClaim"] for volume in pod(name)["volumes"] if "persistentVolumeClaim" in volume]
    assert len({claim["claimName"] for claim in claims}) == len(claims)
    assert all(claim["readOnly"] for claim in claims)
    mounts = pod(name)["containers"][0]["volumeMounts"]
    assert {mount["name"] for mount in mounts} == {volume["name"] for volume in pod(name)["volumes"]}
    assert all(mount.get("readOnly") for mount in mounts if mount["name"] != "tmp")


@pytest.mark.parametrize("name", SPECS)
def test_the_command_understands_what_it_is_asked_and_finds_it_mounted(name: str):
    (container,) = pod(name)["containers"]
    asked = _parser().parse_args(container["args"])
    paths = {mount["mountPath"] for mount in container["volumeMounts"]}
    assert container["command"] == ["finetune-inference", "preflight"]
    assert (asked.uri, asked.digest) == (CHECK_ORDER.uri, CHECK_ORDER.digest)
    assert asked.claim == [("adapters", Path("/mnt/claims/adapters"))]
    assert "/mnt/claims/adapters" in paths
    assert str(asked.scratch) in paths
    if name == "from the hub":
        assert asked.base_model is None
    else:
        assert any(asked.base_model.is_relative_to(path) for path in paths - {"/mnt/claims/adapters"})


def test_engine_and_limits_are_those_of_the_server():
    asked = _parser().parse_args(pod("full")["containers"][0]["args"])
    assert (asked.engine, asked.max_lora_rank, asked.base_digest) == ("vLLM", 40, DIGEST)
    assert _parser().parse_args(pod("small")["containers"][0]["args"]).engine == "Transformers"


@pytest.mark.parametrize(
    "change",
    [
        {"baseModel": {**FULL["baseModel"], "uri": "pvc://models/other"}},
        {"baseModel": {"uri": FULL["baseModel"]["uri"]}},
        {"server": {**FULL["server"], "managed": {**FULL["server"]["managed"], "engine": "Transformers"}}},
        {"server": {**FULL["server"], "capacity": {"maxLoraRank": 41}}},
    ],
    ids=str,
)
def test_whatever_a_verdict_depends_on_makes_another_one(change: dict[str, Any]):
    before, after = (of_kind(check(spec), "Job")["metadata"]["name"] for spec in (FULL, {**FULL, **change}))
    assert before != after
    assert check_basis(read(FULL), *TYPED.values()) != check_basis(read({**FULL, **change}), *TYPED.values())


def test_what_no_verdict_depends_on_makes_none():
    other = {**FULL, "paused": True, "server": {**FULL["server"], "managed": {**FULL["server"]["managed"], "replicas": 9}}}
    assert check_basis(read(FULL), *TYPED.values()) == check_basis(read(other), *TYPED.values())


def test_it_may_run_where_the_servers_may():
    wanted = FULL["server"]["managed"]["resources"]
    merge = build_merge_job(OWNER, read({**MERGED, "server": FULL["server"]}), ORDER, MERGE_SETTINGS)["spec"]["template"]["spec"]
    for found in (pod("full"), merge):
        assert found["tolerations"] == wanted["tolerations"]
        assert "nodeSelector" not in found, "it asks for no accelerator: any node will do"
    assert "tolerations" not in pod("small")
    assert "tolerations" not in pod("of one's own")


def test_nobody_reaches_it_and_it_reaches_nobody():
    (policy,) = [each for each in check() if each["kind"] == "NetworkPolicy"]
    labels = of_kind(check(), "Job")["spec"]["template"]["metadata"]["labels"]
    assert policy["spec"]["podSelector"]["matchLabels"].items() <= labels.items()
    assert (policy["spec"]["ingress"], policy["spec"]["egress"]) == ([], [])
    assert policy["metadata"]["name"] == f"check-{OWNER.name}"
