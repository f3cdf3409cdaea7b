"""The router, the rights and the network policies of a namespace."""

from pathlib import Path

import yaml

from finetune_inference.router.options import Options
from finetune_operator.manifests.serving import (
    AGENT_PORT,
    ENGINE_ADMIN_PORT,
    ENGINE_PORT,
    ROUTER_ADMIN_PORT,
    ROUTER_PORT,
    JsonObject,
    namespace_objects,
    router_selector,
    server_objects,
)
from tests.unit.manifests.serving.samples import FULL_SETTINGS, OWNER, SETTINGS, SMALL, containers_of, objects, of_kind, pod_of, read


def router(name: str) -> JsonObject:
    return containers_of(pod_of(objects()[name]))["router"]


def options(name: str) -> Options:
    """As the program reads them; where the routes come from is not its concern here."""
    arguments: list[str] = router(name)["args"]
    given = {flag.removeprefix("--").replace("-", "_"): value for flag, value in zip(arguments[::2], arguments[1::2], strict=True)}
    assert given.pop("watch_namespace") == OWNER.namespace
    return Options.model_validate({"table": "routes.json", **given})


def ports_of(rule: JsonObject) -> set[int]:
    return {port["port"] for port in rule["ports"]}


def test_the_router_takes_its_command_line():
    assert router("namespace")["command"] == ["finetune-inference", "route"]
    found = options("namespace")
    assert (found.port, found.admin_port, found.workers) == (ROUTER_PORT, ROUTER_ADMIN_PORT, 2)
    assert str(found.state_dir) in {mount["mountPath"] for mount in router("namespace")["volumeMounts"]}


def test_keys_count_as_soon_as_their_secret_is_there_unless_they_are_required():
    (volume,) = (volume for volume in pod_of(objects()["namespace"])["volumes"] if volume["name"] == "keys")
    assert volume["secret"]["secretName"] == "finetune-router-keys"
    assert volume["secret"]["optional"] is True
    assert str(options("namespace").api_keys) in {mount["mountPath"] for mount in router("namespace")["volumeMounts"]}
    assert [options(name).without_keys for name in ("namespace", "namespace-with-everything")] == ["admit", "refuse"]


def test_a_version_can_be_pinned_only_where_the_installation_names_a_secret():
    assert options("namespace").pin_token_file is None
    assert str(options("namespace-with-everything").pin_token_file) == "/etc/finetune/pin/token"


def test_probes_and_counters_have_a_port_that_clients_do_not_see():
    probes = [router("namespace")[kind] for kind in ("startupProbe", "livenessProbe", "readinessProbe")]
    assert [probe["httpGet"]["path"] for probe in probes] == ["/healthz", "/healthz", "/readyz"]
    assert {probe["httpGet"]["port"] for probe in probes} == {"admin"}
    assert [port["port"] for port in of_kind(objects()["namespace"], "Service")["spec"]["ports"]] == [ROUTER_PORT]


def test_a_worker_has_room_for_its_bodies():
    for name, settings in (("namespace", SETTINGS), ("namespace-with-everything", FULL_SETTINGS)):
        limit = int(router(name)["resources"]["limits"]["memory"].removesuffix("Mi"))
        assert limit * 2**20 > settings.router_workers * options(name).max_bodies + 200 * 2**20


def test_agents_and_routers_may_only_read():
    rights = {found["metadata"]["name"]: found["rules"] for found in objects()["namespace"] if found["kind"] == "Role"}
    assert {name: {resource for rule in rules for resource in rule["resources"]} for name, rules in rights.items()} == {
        "finetune-agent": {"adapterdeployments"},
        "finetune-router": {"adapterdeployments", "pods"},
    }
    assert {verb for rules in rights.values() for rule in rules for verb in rule["verbs"]} == {"get", "list", "watch"}


def test_every_pod_has_an_account_whose_role_is_bound_to_it():
    bound = {found["subjects"][0]["name"]: found["roleRef"]["name"] for found in objects()["namespace"] if found["kind"] == "RoleBinding"}
    accounts = {pod_of(objects()[name])["serviceAccountName"] for name in ("transformers", "vllm", "namespace")}
    assert bound == {"finetune-agent": "finetune-agent", "finetune-router": "finetune-router"}
    assert accounts == set(bound)


def test_nobody_owns_what_a_namespace_has_once():
    assert not any("ownerReferences" in found["metadata"] for found in objects()["namespace"])
    names = [(found["kind"], found["metadata"]["name"]) for found in objects()["namespace"]]
    assert len(names) == len(set(names))


def test_only_the_router_of_the_namespace_reaches_the_engine():
    spec = of_kind(objects()["transformers"], "NetworkPolicy")["spec"]
    (rule,) = (rule for rule in spec["ingress"] if ENGINE_PORT in ports_of(rule))
    assert rule["from"] == [{"podSelector": {"matchLabels": router_selector()}}]
    assert router_selector().items() <= of_kind(objects()["namespace"], "Deployment")["spec"]["template"]["metadata"]["labels"].items()
    assert set(spec["policyTypes"]) == {"Ingress", "Egress"}
    assert {port for rule in spec["ingress"] for port in ports_of(rule)} == {ENGINE_PORT, AGENT_PORT}
    assert ENGINE_ADMIN_PORT not in {port for rule in spec["ingress"] for port in ports_of(rule)}


def test_only_operator_and_scrapers_reach_what_agents_and_routers_tell():
    for name, port in (("vllm", AGENT_PORT), ("namespace-with-everything", ROUTER_ADMIN_PORT)):
        (rule,) = (rule for rule in of_kind(objects()[name], "NetworkPolicy")["spec"]["ingress"] if port in ports_of(rule))
        operator, scraper = rule["from"]
        assert operator["podSelector"] == {"matchLabels": {"app": "operator"}}
        assert operator["namespaceSelector"] == {"matchLabels": {"kubernetes.io/metadata.name": "operators"}}
        assert scraper == FULL_SETTINGS.metrics_from[0]


def test_every_rule_with_peers_names_them():
    """An empty list of peers admits everybody, and would look like nobody."""
    for name, found in objects().items():
        for spec in [each["spec"] for each in found if each["kind"] == "NetworkPolicy"]:
            for rule in [*spec["ingress"], *spec["egress"]]:
                assert rule.get("from", [0]), name
                assert rule.get("to", [0]), name


def test_a_merge_is_reached_by_nobody_and_reaches_nobody():
    found = objects()["merged"]
    (policy,) = [each for each in found if each["kind"] == "NetworkPolicy" and each["metadata"]["name"] == f"merge-{OWNER.name}"]
    pod = of_kind(found, "Job")["spec"]["template"]["metadata"]
    assert policy["spec"]["podSelector"]["matchLabels"].items() <= pod["labels"].items()
    assert (policy["spec"]["policyTypes"], policy["spec"]["ingress"], policy["spec"]["egress"]) == (["Ingress", "Egress"], [], [])
    servers = [each for each in found if each["kind"] == "Deployment"]
    for server in servers:
        labels = server["spec"]["template"]["metadata"]["labels"]
        assert not policy["spec"]["podSelector"]["matchLabels"].items() <= labels.items()


def test_clients_are_everybody_unless_the_installation_names_them():
    for name, peers in (("namespace", 0), ("namespace-with-everything", 2)):
        (rule,) = (rule for rule in of_kind(objects()[name], "NetworkPolicy")["spec"]["ingress"] if ROUTER_PORT in ports_of(rule))
        assert len(rule.get("from", [])) == peers


def test_servers_reach_names_and_the_api_server_and_nothing_else():
    egress = of_kind(objects()["vllm"], "NetworkPolicy")["spec"]["egress"]
    assert [ports_of(rule) for rule in egress] == [{53}, {6443}]
    assert egress[1]["to"] == [{"ipBlock": {"cidr": "10.0.0.1/32"}}]


def test_the_operator_is_known_by_the_labels_of_its_chart():
    chart = yaml.safe_load((Path(__file__).parents[4] / "charts/finetune-operator/Chart.yaml").read_text())
    assert SETTINGS.operator_labels == {"app.kubernetes.io/name": chart["name"]}


def test_an_installation_may_do_without_network_policies():
    bare = type(SETTINGS)(inference_image="i", network_policies=False)
    for found in (namespace_objects("support", bare), server_objects(OWNER, read(SMALL), bare)):
        assert found
        assert "NetworkPolicy" not in {each["kind"] for each in found}
