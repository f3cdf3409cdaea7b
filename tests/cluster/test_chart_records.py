"""The chart's side of signed records: a key that only the operator mounts, and records that not even the operator can take back."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from finetune_operator.control.chains import config_map
from finetune_operator.runtime.settings import Settings
from finetune_record import chain
from finetune_testbed.apiserver import MERGE, ApiServer, RequestError
from finetune_testbed.bed import Testbed
from tests.cluster.chart import CHART, NAME, NAMESPACE, Helm
from tests.cluster.operator_process import until

RECORDS, CHECKPOINTS = "chart-records", "chart-checkpoints"
SIGNING = (
    "--set",
    f"governance.enabled=true,governance.signing.secretName=k,governance.records.namespace={RECORDS}",
    "--set",
    f"governance.records.checkpointNamespace={CHECKPOINTS},governance.records.checkpointEvery=3",
)
OPERATOR = f"system:serviceaccount:{NAMESPACE}:{NAME}"


@pytest.fixture(scope="module")
def helm(t1: Testbed) -> Helm:
    return Helm(t1)


@pytest.fixture(scope="module")
def server(t1: Testbed, helm: Helm) -> Iterator[ApiServer]:
    with ApiServer(t1) as connection:
        namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}
        connection.apply(f"/api/v1/namespaces/{NAMESPACE}", namespace)
        helm("upgrade", "--install", "--take-ownership", NAME, str(CHART), *SIGNING)
        yield connection
        helm("uninstall", NAME, "--ignore-not-found")


def operator_pod(documents: list[dict[str, Any]]) -> dict[str, Any]:
    (deployment,) = [document for document in documents if document["kind"] == "Deployment"]
    pod: dict[str, Any] = deployment["spec"]["template"]["spec"]
    return pod


def test_the_key_is_a_file_of_the_operators_pod_and_the_flags_say_where(helm: Helm) -> None:
    pod = operator_pod(helm.template(*SIGNING))
    (container,) = pod["containers"]
    settings = Settings(_cli_parse_args=container["args"])  # type: ignore[call-arg]
    (volume,) = [volume["secret"] for volume in pod["volumes"] if volume["name"] == "signing"]
    (mount,) = [mount for mount in container["volumeMounts"] if mount["name"] == "signing"]
    assert volume["secretName"] == "k"
    assert str(settings.signing_key) == f"{mount['mountPath']}/{volume['items'][0]['path']}"
    assert (settings.records_namespace, settings.checkpoint_namespace, settings.checkpoint_every) == (RECORDS, CHECKPOINTS, 3)


def test_without_a_key_there_is_nothing_of_it(helm: Helm) -> None:
    documents = helm.template("--set", "governance.enabled=true")
    assert not [document for document in documents if document["metadata"]["name"].endswith("-records")]
    assert not [volume for volume in operator_pod(documents)["volumes"] if volume["name"] == "signing"]


BUCKET = "governance.records.bucket"


def test_the_bucket_is_said_in_flags_and_its_credentials_are_files_of_the_operators_pod(helm: Helm) -> None:
    values = (
        f"{BUCKET}.name=anchors,{BUCKET}.endpoint=https://s3.example:9000,{BUCKET}.prefix=lab/,{BUCKET}.mode=GOVERNANCE,{BUCKET}.days=30"
    )
    secret = f"{BUCKET}.credentialsSecret=c,{BUCKET}.caConfigMap=a"
    documents = helm.template(*SIGNING, "--set", values, "--set", secret, "--set", "networkPolicy.enabled=true")
    pod = operator_pod(documents)
    (container,) = pod["containers"]
    settings = Settings(_cli_parse_args=container["args"])  # type: ignore[call-arg]
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert str(settings.bucket_place()) == "s3://anchors/lab/"
    assert (settings.anchor_bucket_mode, settings.anchor_bucket_days) == ("GOVERNANCE", 30)
    assert str(settings.anchor_bucket_credentials) == mounts["bucket"]
    assert str(settings.anchor_bucket_ca) == f"{mounts['bucket-ca']}/ca.crt"
    assert {"name": "bucket", "secret": {"secretName": "c", "defaultMode": 0o440}} in pod["volumes"]
    (policy,) = [document for document in documents if document["kind"] == "NetworkPolicy"]
    assert {"ports": [{"port": 9000, "protocol": "TCP"}]} in policy["spec"]["egress"]
    roles = {document["metadata"]["namespace"]: document["rules"] for document in documents if document["kind"] == "Role"}
    told = {"apiGroups": ["events.k8s.io"], "resources": ["events"], "verbs": ["create", "patch"]}
    assert told in roles[RECORDS]
    assert told not in roles[CHECKPOINTS]
    assert "credentialsSecret" in helm("template", NAME, str(CHART), *SIGNING, "--set", values, expect=1)


def record(name: str, namespace: str = RECORDS) -> dict[str, Any]:
    return config_map(namespace, name, {chain.NAMESPACE_LABEL: "team-a"}, {"record.dsse.json": "{}"})


def refusal(act: Callable[[], Any]) -> str:
    """Why it is refused; empty where it is not."""
    try:
        act()
    except RequestError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("namespace", [RECORDS, CHECKPOINTS])
def test_the_operator_adds_records_and_takes_none_back(server: ApiServer, t1: Testbed, namespace: str) -> None:
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    one = f"{path}/team-a-00000001"
    with ApiServer(t1, user=OPERATOR) as operator:
        operator.request("POST", path, record("team-a-00000001", namespace))
        assert operator.request("GET", one)["immutable"]
        until(lambda: "never changed" in refusal(lambda: operator.request("DELETE", f"{one}?dryRun=All")))
        assert "never changed" in refusal(lambda: operator.request("DELETE", one))
        patch = {"metadata": {"labels": {chain.NAMESPACE_LABEL: None}}}
        assert refusal(lambda: operator.request("PATCH", one, patch, MERGE))
    assert server.request("DELETE", one), "an administrator may, and it leaves a gap"


def test_not_even_an_administrator_puts_one_in_its_place(server: ApiServer) -> None:
    path = f"/api/v1/namespaces/{RECORDS}/configmaps"
    until(lambda: "only the operator" in refusal(lambda: server.request("POST", f"{path}?dryRun=All", record("team-a-00000002"))))
    unlabelled = config_map(RECORDS, "team-a-00000002", {}, {})
    assert "only the operator" in refusal(lambda: server.request("POST", path, unlabelled))
    other = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "notes", "namespace": RECORDS}}
    assert server.request("POST", f"{path}?dryRun=All", other)


def test_namespace_and_records_outlive_the_release(helm: Helm) -> None:
    kept = [document for document in helm.template(*SIGNING) if document["kind"] == "Namespace"]
    assert [document["metadata"]["name"] for document in kept] == [RECORDS, CHECKPOINTS]
    assert all(document["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep" for document in kept)


def test_one_namespace_for_both_is_refused(helm: Helm) -> None:
    values = (*SIGNING, "--set", f"governance.records.checkpointNamespace={RECORDS}")
    assert "another namespace" in helm("template", NAME, str(CHART), *values, expect=1)
