"""The chart installs on a real API server: restricted pods, the rights that are used and no others, and nothing lost on the way out."""

import base64
import json
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml

from finetune_operator.api.base import API_VERSION, GROUP, LABEL_SERVING_ROLE, VERSION
from finetune_operator.api.crd import ADAPTERDEPLOYMENT, FINETUNEJOB, GOVERNANCE_KINDS
from finetune_operator.cluster.prometheus import PrometheusServer
from finetune_operator.cluster.resources import ADAPTER_DEPLOYMENTS, FINETUNE_JOBS
from finetune_operator.manifests.egressprobe import EgressProbe
from finetune_operator.manifests.serving import (
    AGENT_PORT,
    ROUTER,
    ROUTER_ADMIN_PORT,
    ROUTER_PORT,
    SERVER,
    ServingSettings,
    namespace_objects,
)
from finetune_operator.runtime.preflight import (
    GOVERNANCE_RIGHTS,
    LEASE_RIGHTS,
    NAMESPACE_RIGHTS,
    POLICY_STATUS_RIGHTS,
    RIGHTS,
    SERVING_OBJECT_RIGHTS,
    SERVING_RIGHTS,
    Right,
)
from finetune_operator.runtime.serving import serving_settings
from finetune_operator.runtime.settings import Settings
from finetune_testbed import binaries
from finetune_testbed.apiserver import ApiServer, RequestError
from finetune_testbed.bed import Testbed
from finetune_trainer.contract.governance.facts import Site
from tests.cluster.chart import CHART, NAME, NAMESPACE, Helm
from tests.cluster.crd import DEFINITIONS
from tests.cluster.operator_process import until

SECRET = f"/api/v1/namespaces/{NAMESPACE}/secrets/{NAME}-progress-key"
TEAM = "team-a"
SERVING = ("--set", "serving.enabled=true")
GOVERNANCE = ("--set", "governance.enabled=true")
RIGHTS_OF = {
    "without serving": ((), RIGHTS),
    "with serving": (SERVING, (*RIGHTS, *SERVING_RIGHTS, *SERVING_OBJECT_RIGHTS, *NAMESPACE_RIGHTS)),
    "with governance": (GOVERNANCE, (*RIGHTS, *GOVERNANCE_RIGHTS, *POLICY_STATUS_RIGHTS)),
}


@pytest.fixture(scope="module")
def helm(t1: Testbed) -> Helm:
    return Helm(t1)


@pytest.fixture(scope="module")
def server(t1: Testbed) -> Iterator[ApiServer]:
    with ApiServer(t1) as connection:
        for name in (NAMESPACE, TEAM):
            labels = {"pod-security.kubernetes.io/enforce": "restricted"}
            namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}
            connection.apply(f"/api/v1/namespaces/{name}", namespace)
        yield connection


@pytest.fixture
def release(helm: Helm, server: ApiServer) -> Iterator[Helm]:
    helm("upgrade", "--install", "--take-ownership", NAME, str(CHART))  # other tests may have applied the definition
    yield helm
    helm("uninstall", NAME, "--ignore-not-found")


def of_kind(documents: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [document for document in documents if document["kind"] == kind]


def test_the_chart_passes_lint_without_a_complaint(helm: Helm) -> None:
    assert "0 chart(s) failed" in helm("lint", "--strict", str(CHART))


@pytest.mark.parametrize(
    "values",
    [
        (),
        ("--set", "networkPolicy.enabled=true", "--set", "replicas=3"),
        ("--set", "watchNamespaces={default,team-a}", "--set", "crds.install=false"),
        (
            "--set",
            "imagePullSecrets={one}",
            "--set",
            "trainer.imagePullSecrets={two}",
            "--set",
            "priorityClassName=system-cluster-critical",
        ),
        ("--set", "metrics.service=false", "--set", "podDisruptionBudget=false", "--set", "rbac.aggregateToUserRoles=false"),
        (*GOVERNANCE, "--set", "governance.residencies={onprem-a},governance.action=Warn,governance.writers={system:kueue}"),
        ("--set", "progressKey.existingSecret=mine", "--set", "operator.extraArgs={--retry-base-seconds=1}"),
        (*SERVING, "--set", "networkPolicy.enabled=true"),
        (
            *GOVERNANCE,
            "--set",
            "governance.signing.secretName=k,governance.signing.verificationConfigMap=old",
            "--set",
            "governance.records.namespace=team-a,governance.records.createNamespaces=false",
        ),
        (*GOVERNANCE, "--set", "watchNamespaces={default,team-a},governance.residencies={onprem-a}"),
        (*SERVING, "--set", "serving.prometheus.url=https://p,serving.prometheus.bearerTokenSecret=t,serving.prometheus.caConfigMap=c"),
        (*SERVING, "--set", "watchNamespaces={default,team-a}", "--set", "serving.pinSecret=pin,serving.router.requireApiKeys=true"),
    ],
    ids=lambda values: " ".join(value for value in values if value != "--set") or "defaults",
)
def test_what_it_renders_is_accepted_by_the_api_server(helm: Helm, server: ApiServer, t1: Testbed, values: tuple[str, ...]) -> None:
    kubectl = binaries.path("kubectl", t1.cache_dir, progress=print)
    manifests = yaml.safe_dump_all(helm.template(*values))
    apply = ["apply", "--server-side", "--force-conflicts", "--dry-run=server", "--validate=strict", "-f", "-"]
    done = subprocess.run(
        [str(kubectl), "--kubeconfig", str(t1.kubeconfig), *apply], input=manifests, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr


def test_its_pods_are_admitted_under_the_restricted_level(helm: Helm, server: ApiServer) -> None:
    (deployment,) = of_kind(helm.template(), "Deployment")
    template = deployment["spec"]["template"]
    account = {**template["spec"], "serviceAccountName": "default"}
    default = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}}
    server.apply(f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts/default", default)
    pod = {"kind": "Pod", "metadata": {"name": "operator", "labels": template["metadata"]["labels"]}, "spec": account}
    path = f"/api/v1/namespaces/{NAMESPACE}/pods?dryRun=All&fieldValidation=Strict"
    assert server.request("POST", path, pod)["metadata"]["name"] == "operator"
    loose = {**pod, "spec": {**account, "securityContext": {}}}
    with pytest.raises(RequestError, match="violates PodSecurity"):
        server.request("POST", path, loose)


def test_its_flags_are_understood_by_the_operator(helm: Helm) -> None:
    (deployment,) = of_kind(helm.template("--set", "watchNamespaces={a,b}", "--set", "trainer.imagePullSecrets={two}"), "Deployment")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    settings = Settings(_cli_parse_args=container["args"])  # type: ignore[call-arg]
    assert settings.namespace == ["a", "b"]
    assert settings.image_pull_secret == ["two"]
    assert settings.trainer_image == "finetune-trainer:0.1.0"
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports == {"health": settings.health_port, "metrics": settings.metrics_port}
    (mount,) = [mount for mount in container["volumeMounts"] if mount["name"] == "progress-key"]
    assert str(settings.progress_key_file).startswith(mount["mountPath"] + "/")


def operator_settings(documents: list[dict[str, Any]]) -> Settings:
    (deployment,) = of_kind(documents, "Deployment")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    return Settings(_cli_parse_args=container["args"])  # type: ignore[call-arg]


def test_serving_is_off_and_its_definition_is_left_out_until_somebody_enables_it(helm: Helm) -> None:
    documents = helm.template()
    assert not operator_settings(documents).serving
    assert [found["metadata"]["name"] for found in of_kind(documents, "CustomResourceDefinition")] == [FINETUNEJOB.name]
    assert "adapterdeployments" not in json.dumps([role for role in of_kind(documents, "ClusterRole") if role["metadata"]["name"] != NAME])
    both = {found["metadata"]["name"] for found in of_kind(helm.template(*SERVING), "CustomResourceDefinition")}
    assert both == {FINETUNEJOB.name, ADAPTERDEPLOYMENT.name}


def test_governance_is_off_and_its_definitions_are_left_out_until_somebody_enables_it(helm: Helm) -> None:
    assert not operator_settings(helm.template()).governance
    documents = helm.template(*GOVERNANCE, "--set", "governance.residencies={onprem-a,eu-de},governance.regimes={trade}")
    assert {found["metadata"]["name"] for found in of_kind(documents, "CustomResourceDefinition")} == {
        FINETUNEJOB.name,
        *(kind.name for kind in GOVERNANCE_KINDS),
    }
    settings = operator_settings(documents)
    assert settings.governance
    assert settings.site() == Site(residencies=("onprem-a", "eu-de"), regimes=("trade",))


def test_with_chosen_namespaces_governance_needs_three_kinds_of_the_whole_cluster(helm: Helm) -> None:
    values = (*GOVERNANCE, "--set", "watchNamespaces={team-a},rbac.aggregateToUserRoles=false")
    (role,) = [role for role in of_kind(helm.template(*values), "ClusterRole") if role["metadata"]["name"] == f"{NAME}-governance"]
    assert {resource for rule in role["rules"] for resource in rule["resources"]} == {"namespaces", "nodes", "governancepolicies"}
    assert {verb for rule in role["rules"] for verb in rule["verbs"]} == {"list", "watch"}


def test_its_defaults_of_egress_probes_are_those_of_the_operator_and_every_value_reaches_it(helm: Helm) -> None:
    bare = Settings(_cli_parse_args=["--trainer-image=t"])  # type: ignore[call-arg]
    assert operator_settings(helm.template(*GOVERNANCE)).egress_probe() is bare.egress_probe() is None
    probe = ("--set", "governance.egressProbe.target=10.1.2.3:443")
    assert operator_settings(helm.template(*GOVERNANCE, *probe)).egress_probe() == EgressProbe("10.1.2.3:443")
    values = {"target": "[fd00::1]:8443", "name": "outside.example", "times": 5, "withinSeconds": 30, "everySeconds": 90}
    settings = operator_settings(helm.template(*GOVERNANCE, "--set-json", f"governance.egressProbe={json.dumps(values)}"))
    assert settings.egress_probe() == EgressProbe(*values.values())  # type: ignore[arg-type]


@pytest.mark.parametrize(("target", "to"), [("10.1.2.3:443", [{"ipBlock": {"cidr": "10.1.2.3/32"}}]), ("canary.site:443", None)])
def test_its_network_policy_lets_the_operator_reach_the_target_of_egress_probes(helm: Helm, target: str, to: Any) -> None:
    values = (*GOVERNANCE, "--set", f"networkPolicy.enabled=true,governance.egressProbe.target={target}")
    (policy,) = of_kind(helm.template(*values), "NetworkPolicy")
    rule = policy["spec"]["egress"][-1]
    assert (rule["ports"], rule.get("to")) == ([{"port": 443, "protocol": "TCP"}], to)


def test_nobody_classifies_or_approves_by_the_built_in_roles(helm: Helm) -> None:
    (edit,) = [role for role in of_kind(helm.template(*GOVERNANCE), "ClusterRole") if role["metadata"]["name"].endswith("-edit")]
    assert {resource for rule in edit["rules"] for resource in rule["resources"]} == {"finetunejobs"}


def test_its_defaults_of_serving_are_those_of_the_operator(helm: Helm) -> None:
    settings = operator_settings(helm.template(*SERVING))
    bare = Settings(_cli_parse_args=["--trainer-image=t"])  # type: ignore[call-arg]
    assert settings.serving
    assert settings.inference_image == "finetune-inference:0.1.0"
    prefixes = ("rollout_", "router_", "vllm_", "serving_")
    names = [name for name in Settings.model_fields if name.startswith(prefixes)]
    assert {name: getattr(settings, name) for name in names} == {name: getattr(bare, name) for name in names}


def test_every_value_of_serving_reaches_what_it_makes(helm: Helm) -> None:
    values = {
        "enabled": True,
        "image": {"repository": "r/i", "digest": "sha256:" + "b" * 64},
        "vllmImage": "r/vllm:1",
        "pinSecret": "pin",
        "networkPolicies": False,
        "clientsFrom": [{"podSelector": {"matchLabels": {"asks": "a,b"}}}, {"ipBlock": {"cidr": "10.0.0.0/8"}}],
        "metricsFrom": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}],
        "apiServerCIDRs": ["10.0.0.1/32", "fd00::1/128"],
        "router": {"replicas": 3, "workers": 4, "requireApiKeys": True},
        "rollout": {"lookSeconds": 0.5, "pollSeconds": 0.25, "restSeconds": 60, "auditSeconds": 7, "unloadSeconds": 5, "workers": 2},
        "prometheus": {"url": "https://p.obs:9090/x", "bearerTokenSecret": "reader", "caConfigMap": "authority", "freshnessSeconds": 90},
    }
    others = ("--set", "trainer.imagePullSecrets={two}", "--set", "networkPolicy.apiServerPorts={8443,16443}")
    documents = helm.template("--set-json", f"serving={json.dumps(values)}", *others)
    settings = operator_settings(documents)
    assert serving_settings(settings) == ServingSettings(
        inference_image="r/i@sha256:" + "b" * 64,
        trainer_image="finetune-trainer:0.1.0",
        image_pull_policy="IfNotPresent",
        image_pull_secrets=("two",),
        default_vllm_image="r/vllm:1",
        router_replicas=3,
        router_workers=4,
        require_api_keys=True,
        pin_secret="pin",
        network_policies=False,
        operator_namespace=NAMESPACE,
        clients_from=tuple(values["clientsFrom"]),  # type: ignore[arg-type]
        metrics_from=tuple(values["metricsFrom"]),  # type: ignore[arg-type]
        api_server_ports=(8443, 16443),
        api_server_cidrs=("10.0.0.1/32", "fd00::1/128"),
    )
    seconds = (settings.rollout_look_seconds, settings.rollout_poll_seconds, settings.rollout_rest_seconds, settings.rollout_unload_seconds)
    assert (*seconds, settings.rollout_audit_seconds, settings.rollout_workers) == (0.5, 0.25, 60, 5, 7, 2)
    pod = of_kind(documents, "Deployment")[0]["spec"]["template"]["spec"]
    (mount,) = [mount for mount in pod["containers"][0]["volumeMounts"] if mount["name"] == "prometheus"]
    (volume,) = [volume["projected"] for volume in pod["volumes"] if volume["name"] == "prometheus"]
    token, authorities = volume["sources"][0]["secret"], volume["sources"][1]["configMap"]
    assert (token["name"], authorities["name"]) == ("reader", "authority")
    assert settings.rollout_prometheus_freshness_seconds == 90
    assert settings.prometheus_server == PrometheusServer(
        "https://p.obs:9090/x",
        Path(f"{mount['mountPath']}/{token['items'][0]['path']}"),
        Path(f"{mount['mountPath']}/{authorities['items'][0]['path']}"),
    )
    (mount,) = [mount for mount in pod["containers"][0]["volumeMounts"] if mount["name"] == "pin"]
    (volume,) = [volume for volume in pod["volumes"] if volume["name"] == "pin"]
    assert volume["secret"]["secretName"] == settings.router_pin_secret
    assert str(settings.rollout_pin_token_file) == f"{mount['mountPath']}/{volume['secret']['items'][0]['path']}"


def test_its_network_policy_lets_the_operator_reach_agents_and_routers(helm: Helm) -> None:
    (policy,) = of_kind(helm.template(*SERVING, "--set", "networkPolicy.enabled=true"), "NetworkPolicy")
    open_ports = {
        (rule["to"][0]["podSelector"]["matchLabels"].get(LABEL_SERVING_ROLE), port["port"])
        for rule in policy["spec"]["egress"]
        for port in rule["ports"]
        if "to" in rule
    }
    assert open_ports == {(None, 9400), (SERVER, AGENT_PORT), (ROUTER, ROUTER_PORT), (ROUTER, ROUTER_ADMIN_PORT)}


@pytest.mark.parametrize("whose", ["engines", "prometheus"])
def test_its_network_policy_takes_rules_for_what_is_ones_own(helm: Helm, whose: str) -> None:
    rule = {"ports": [{"port": 8080}], "to": [{"podSelector": {"matchLabels": {"app": "vllm"}}}]}
    values = ("--set", "networkPolicy.enabled=true", "--set-json", f"networkPolicy.{whose}={json.dumps([rule])}")
    (policy,) = of_kind(helm.template(*SERVING, *values), "NetworkPolicy")
    assert policy["spec"]["egress"][-1] == rule


@pytest.mark.parametrize(("verb", "subresource"), [("create", ""), ("delete", ""), ("patch", "scale"), ("update", "scale")])
def test_who_may_edit_a_namespace_may_edit_and_scale_its_deployments(helm: Helm, verb: str, subresource: str) -> None:
    roles = {role["metadata"]["name"]: role["rules"] for role in of_kind(helm.template(*SERVING), "ClusterRole")}
    resource = f"adapterdeployments/{subresource}".rstrip("/")
    verbs = {name: {each for rule in rules if resource in rule["resources"] for each in rule["verbs"]} for name, rules in roles.items()}
    assert verb in verbs[f"{NAME}-edit"]
    assert verb not in verbs[f"{NAME}-view"]
    assert "get" in verbs[f"{NAME}-view"]


@pytest.mark.parametrize(("tag", "digest", "image"), [("1.2", "", "r/o:1.2"), ("1.2", "sha256:" + "a" * 64, "r/o@sha256:" + "a" * 64)])
def test_a_digest_wins_over_a_tag(helm: Helm, tag: str, digest: str, image: str) -> None:
    values = ("--set", f"image.repository=r/o,image.tag={tag},image.digest={digest}")
    (deployment,) = of_kind(helm.template(*values), "Deployment")
    assert deployment["spec"]["template"]["spec"]["containers"][0]["image"] == image


def allowed(server: ApiServer, verb: str, group: str, resource: str, subresource: str = "", namespace: str = TEAM, only: str = "") -> bool:
    attributes = {"verb": verb, "group": group, "resource": resource, "subresource": subresource, "namespace": namespace, "name": only}
    review = {
        "kind": "SubjectAccessReview",
        "apiVersion": "authorization.k8s.io/v1",
        "spec": {"user": f"system:serviceaccount:{NAMESPACE}:{NAME}", "resourceAttributes": attributes},
    }
    return bool(server.request("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", review)["status"]["allowed"])


@pytest.mark.parametrize(("values", "rights"), RIGHTS_OF.values(), ids=RIGHTS_OF)
def test_the_operator_may_do_what_it_does(release: Helm, server: ApiServer, values: tuple[str, ...], rights: tuple[Right, ...]) -> None:
    release("upgrade", "--take-ownership", NAME, str(CHART), *values)

    def refused() -> list[tuple[str, str]]:
        asked = [(right, TEAM, verb) for right in rights for verb in right.verbs]
        asked += [(right, NAMESPACE, verb) for right in LEASE_RIGHTS for verb in right.verbs]
        return [
            (right.name, verb)
            for right, namespace, verb in asked
            if not allowed(server, verb, right.resource.group, right.resource.plural, right.subresource, namespace, right.only)
        ]

    with suppress(AssertionError):
        until(lambda: not refused(), every=1)  # an API server decides by a copy of the roles that follows what is written
    assert refused() == []
    for right in LEASE_RIGHTS:
        for verb in right.verbs:
            assert not allowed(server, verb, right.resource.group, right.resource.plural), "Leases elsewhere are none of its business"


@pytest.mark.parametrize(("values", "rights"), RIGHTS_OF.values(), ids=RIGHTS_OF)
def test_the_operator_may_do_nothing_else(helm: Helm, values: tuple[str, ...], rights: tuple[Right, ...]) -> None:
    (role,) = [role for role in of_kind(helm.template(*values), "ClusterRole") if role["metadata"]["name"] == NAME]
    granted = {
        (group, resource, verb, *rule.get("resourceNames", []))
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    used = {
        (right.resource.group, f"{right.resource.plural}/{right.subresource}".rstrip("/"), verb, *([right.only] if right.only else []))
        for right in rights
        for verb in right.verbs
    }
    owners = {right.resource.plural for right in rights if right.resource in (FINETUNE_JOBS, ADAPTER_DEPLOYMENTS) and right.subresource}
    owner_references = {(GROUP, f"{plural}/finalizers", "update") for plural in owners}
    assert granted == used | owner_references


@pytest.mark.parametrize(
    ("verb", "group", "resource"),
    [("get", "", "secrets"), ("list", "", "configmaps"), ("update", "finetune.dev", "finetunejobs"), ("create", "", "pods")],
)
def test_what_it_must_never_do_is_refused(release: Helm, server: ApiServer, verb: str, group: str, resource: str) -> None:
    assert not allowed(server, verb, group, resource)


def test_its_rights_are_enough_to_make_a_router_and_to_take_it_away(release: Helm, server: ApiServer, t1: Testbed) -> None:
    """The API server lets nobody grant what he does not hold, which no access review tells."""
    release("upgrade", "--take-ownership", NAME, str(CHART), *SERVING)
    settings = serving_settings(operator_settings(release.template(*SERVING)))
    assert settings is not None
    account = f"system:serviceaccount:{NAMESPACE}:{NAME}"
    kubectl = [str(binaries.path("kubectl", t1.cache_dir, progress=print)), "--kubeconfig", str(t1.kubeconfig)]
    kubectl += ["--as", account, "--as-group", "system:authenticated"]
    objects = yaml.safe_dump_all(json.loads(json.dumps(namespace_objects(TEAM, settings))))
    for command in (["apply", "--server-side"], ["delete", "--wait=false"]):
        done = subprocess.run([*kubectl, *command, "-f", "-"], input=objects, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


def test_watching_chosen_namespaces_needs_no_right_on_the_cluster(helm: Helm) -> None:
    documents = helm.template("--set", "watchNamespaces={team-a}", "--set", "rbac.aggregateToUserRoles=false")
    assert not of_kind(documents, "ClusterRole")
    assert not of_kind(documents, "ClusterRoleBinding")
    assert {role["metadata"]["namespace"] for role in of_kind(documents, "Role")} == {"team-a", NAMESPACE}


def test_switching_serving_off_keeps_the_deployments_and_says_what_becomes_of_them(release: Helm, server: ApiServer) -> None:
    release("upgrade", "--take-ownership", NAME, str(CHART), *SERVING)
    path = f"/apis/{GROUP}/{VERSION}/namespaces/{TEAM}/adapterdeployments/bot"
    spec = {"modelName": "bot", "adapter": {"fineTuneJobRef": {"name": "j"}}, "baseModel": {"uri": "pvc://m/b"}, "server": {"managed": {}}}
    server.apply(path, {"apiVersion": API_VERSION, "kind": ADAPTERDEPLOYMENT.kind, "metadata": {"name": "bot"}, "spec": spec})
    try:
        told = release("upgrade", NAME, str(CHART), "--set", "serving.enabled=false", "--set", f"watchNamespaces={{{TEAM}}}")
        assert "WARNING: serving is disabled, and there are AdapterDeployments (1)" in told
        assert server.request("GET", path)["metadata"].get("deletionTimestamp") is None
    finally:
        server.request("DELETE", path)
    assert "WARNING" not in release("upgrade", NAME, str(CHART), "--set", f"watchNamespaces={{{TEAM}}}")


def test_an_upgrade_keeps_the_progress_key(release: Helm, server: ApiServer) -> None:
    before = server.request("GET", SECRET)["data"]["key"]
    release("upgrade", NAME, str(CHART), "--set", "replicas=3")
    assert server.request("GET", SECRET)["data"]["key"] == before
    assert len(base64.b64decode(before)) >= 32


def test_uninstalling_keeps_the_definition_and_every_job(release: Helm, server: ApiServer) -> None:
    assert server.request("GET", f"{DEFINITIONS}/{FINETUNEJOB.name}")
    release("uninstall", NAME)
    assert server.request("GET", f"{DEFINITIONS}/{FINETUNEJOB.name}")["metadata"].get("deletionTimestamp") is None
    release("install", NAME, str(CHART))


@pytest.mark.parametrize(
    "value",
    [
        "replica=3",
        "replicas=0",
        "image.digest=sha256:1",
        "operator.log.level=trace",
        "serving.image.pullPolicy=Always",
        "serving.router.replicas=0",
        "serving.prometheus.bearerTokenSecret=needs-https",
        "watchNamespaces={A}",
        "governance.regimes={Trial}",
        "governance.writers={a b}",
    ],
)
def test_a_misspelt_value_is_refused(helm: Helm, value: str) -> None:
    complaint = helm("template", NAME, str(CHART), "--set", value, expect=1)
    assert value.split("=", maxsplit=1)[0].rsplit(".", maxsplit=1)[-1] in complaint.replace("/", " ")


def test_the_readme_describes_every_value() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    readme = (CHART / "README.md").read_text()
    for name in values:
        assert f"`{name}" in readme, name
    schema = json.loads((CHART / "values.schema.json").read_text())
    assert set(values) <= set(schema["properties"])
