"""What holds for every pod that serves, whatever the spec says."""

import pytest

from finetune_operator.api.base import LABEL_VERSION
from finetune_operator.manifests.serving import JsonObject
from tests.unit.manifests.serving.samples import containers_of, objects, of_kind, pod_of

PODS = {name: pod_of(found) for name, found in objects().items()}
CONTAINERS = [(name, container) for name, pod in PODS.items() for container in containers_of(pod)]
TOKEN = "/var/run/secrets/kubernetes.io/serviceaccount"


def container(name: str, which: str) -> JsonObject:
    return containers_of(PODS[name])[which]


@pytest.mark.parametrize(("name", "which"), CONTAINERS)
def test_every_container_satisfies_the_restricted_level_and_writes_to_volumes_only(name: str, which: str):
    security, pod = container(name, which)["securityContext"], PODS[name]["securityContext"]
    assert security == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
        "runAsNonRoot": True,
    }
    assert (pod["runAsNonRoot"], pod["seccompProfile"]) == (True, {"type": "RuntimeDefault"})
    assert pod["runAsUser"] > 0
    assert "/tmp" in {mount["mountPath"] for mount in container(name, which)["volumeMounts"]}


@pytest.mark.parametrize("name", PODS)
def test_nothing_of_the_host_is_in_a_pod(name: str):
    kinds = {next(iter(set(volume) - {"name"})) for volume in PODS[name]["volumes"]}
    assert kinds <= {"emptyDir", "persistentVolumeClaim", "projected", "secret"}
    assert not {"hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace"} & set(PODS[name])


@pytest.mark.parametrize("name", PODS)
def test_the_token_is_where_it_is_used_and_nowhere_else(name: str):
    pod = PODS[name]
    assert pod["automountServiceAccountToken"] is False
    assert pod["enableServiceLinks"] is False
    holders = {which for which, each in containers_of(pod).items() if TOKEN in {mount["mountPath"] for mount in each["volumeMounts"]}}
    assert holders == ({"router"} if "namespace" in name else {"agent"})
    (volume,) = (volume for volume in pod["volumes"] if volume["name"] == "token")
    files = [item for source in volume["projected"]["sources"] for part in source.values() for item in part.get("items", [part])]
    assert {item["path"] for item in files} == {"token", "ca.crt", "namespace"}


@pytest.mark.parametrize("name", PODS)
def test_every_mount_has_its_volume_and_every_volume_its_mount(name: str):
    mounted = {mount["name"] for each in containers_of(PODS[name]).values() for mount in each["volumeMounts"]}
    assert mounted == {volume["name"] for volume in PODS[name]["volumes"]}


@pytest.mark.parametrize(("name", "which"), CONTAINERS)
def test_no_path_is_mounted_twice_in_a_container(name: str, which: str):
    paths = [mount["mountPath"] for mount in container(name, which)["volumeMounts"]]
    assert len(paths) == len(set(paths))


@pytest.mark.parametrize("name", PODS)
def test_claims_are_one_volume_each_and_read_only_everywhere(name: str):
    claims = [volume["persistentVolumeClaim"] for volume in PODS[name]["volumes"] if "persistentVolumeClaim" in volume]
    names = [claim["claimName"] for claim in claims]
    assert len(names) == len(set(names))
    assert all(claim["readOnly"] for claim in claims)
    mounts = [mount for each in containers_of(PODS[name]).values() for mount in each["volumeMounts"] if mount["name"].startswith("claim-")]
    assert all(mount["readOnly"] for mount in mounts)


@pytest.mark.parametrize("name", PODS)
def test_a_pod_that_ends_has_time_for_what_it_waits_for(name: str):
    pod = PODS[name]
    (main,) = pod["containers"]
    sleep = main["lifecycle"]["preStop"]["sleep"]["seconds"]
    flag = "--drain-seconds" if main["name"] == "router" else "--shutdown-timeout"
    drain = int(main["args"][main["args"].index(flag) + 1])
    assert sleep > 2, "routers look at pods every two seconds"
    assert drain >= 300
    assert pod["terminationGracePeriodSeconds"] >= sleep + drain + 15


@pytest.mark.parametrize("name", PODS)
def test_updates_and_drains_leave_somebody_to_answer(name: str):
    deployment, budget = of_kind(objects()[name], "Deployment"), of_kind(objects()[name], "PodDisruptionBudget")
    assert deployment["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    assert budget["spec"]["maxUnavailable"] == 1, "minAvailable would keep the node of an only replica from being emptied"
    wanted, pods = budget["spec"]["selector"]["matchLabels"], deployment["spec"]["selector"]["matchLabels"]
    assert wanted.items() <= pods.items(), "one budget for the pods of all versions, where each has pods of its own"
    assert wanted.keys() == pods.keys() - {LABEL_VERSION}
    for constraint in PODS[name]["topologySpreadConstraints"]:
        assert constraint["labelSelector"] == deployment["spec"]["selector"]


@pytest.mark.parametrize("name", objects())
def test_everything_that_selects_finds_the_pods(name: str):
    found = objects()[name]
    labels = of_kind(found, "Deployment")["spec"]["template"]["metadata"]["labels"]
    (policy,) = [each for each in found if each["kind"] == "NetworkPolicy" and not each["metadata"]["name"].startswith("merge-")]
    selectors = [
        of_kind(found, "Deployment")["spec"]["selector"]["matchLabels"],
        of_kind(found, "Service")["spec"]["selector"],
        policy["spec"]["podSelector"]["matchLabels"],
    ]
    for selector in selectors:
        assert selector.items() <= labels.items()


@pytest.mark.parametrize("name", objects())
def test_named_ports_are_those_of_a_container(name: str):
    named = {port["name"] for each in containers_of(PODS[name]).values() for port in each["ports"]}
    probes = [each[kind]["httpGet"]["port"] for each in containers_of(PODS[name]).values() for kind in each if kind.endswith("Probe")]
    assert {port["targetPort"] for port in of_kind(objects()[name], "Service")["spec"]["ports"]} <= named
    assert probes
    assert set(probes) <= named


@pytest.mark.parametrize("name", objects())
def test_objects_carry_no_status_and_come_out_the_same_each_time(name: str):
    assert objects()[name] == objects()[name]
    for found in objects()[name]:
        assert "status" not in found
        assert {"name", "namespace", "labels"} <= set(found["metadata"]) <= {"name", "namespace", "labels", "ownerReferences"}
