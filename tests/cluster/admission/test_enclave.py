"""What runs in a governed namespace, who gets in and which network policies there are: tried with full rights inside the namespace."""

from typing import Any

import pytest

from finetune_testbed.apiserver import MERGE, RequestError
from tests.cluster.admission.governed import (
    ALICE,
    CLEARANCE,
    CLINIC,
    CONTROLLERS,
    GOVERNED,
    LEVEL,
    NAMESPACES,
    OPERATOR,
    STRATEGIC,
    Refused,
    Site,
    configmap,
    job,
    jobs,
    networkpolicies,
    networkpolicy,
    pod,
    pod_spec,
)

OWNER = {"apiVersion": "batch/v1", "kind": "Job", "name": "j", "uid": "3b1f6f6e-0000-4000-8000-000000000001", "controller": True}
LABELLED = {"selector": {"matchLabels": {"app": "x"}}, "template": {"metadata": {"labels": {"app": "x"}}, "spec": pod_spec()}}
JOB_SPEC = {"template": {"spec": {**pod_spec(), "restartPolicy": "Never"}}, "suspend": True}
WORKLOADS: dict[str, tuple[str, dict[str, Any]]] = {
    "pods": ("/api/v1", {}),
    "replicationcontrollers": ("/api/v1", {"selector": {"app": "x"}, "template": LABELLED["template"]}),
    "jobs": ("/apis/batch/v1", JOB_SPEC),
    "cronjobs": ("/apis/batch/v1", {"schedule": "* * * * *", "jobTemplate": {"spec": JOB_SPEC}}),
    "deployments": ("/apis/apps/v1", LABELLED),
    "replicasets": ("/apis/apps/v1", LABELLED),
    "statefulsets": ("/apis/apps/v1", {**LABELLED, "serviceName": "x"}),
    "daemonsets": ("/apis/apps/v1", LABELLED),
}
FOREIGN, ENTERED = {"ForeignWorkload"}, {"InteractiveAccess"}


def path(namespace: str, plural: str, name: str = "") -> str:
    return f"{WORKLOADS[plural][0]}/namespaces/{namespace}/{plural}" + (f"/{name}" if name else "")


def document(plural: str, name: str, owner: dict[str, Any] | None = None) -> dict[str, Any]:
    return {**pod(name, owner), "kind": None, "apiVersion": None} if plural == "pods" else _other(plural, name, owner)


def _other(plural: str, name: str, owner: dict[str, Any] | None) -> dict[str, Any]:
    metadata = {"name": name, "labels": {"app": "x"}, **({"ownerReferences": [owner]} if owner else {})}
    return {"metadata": metadata, "spec": WORKLOADS[plural][1]}


@pytest.mark.parametrize("plural", WORKLOADS)
def test_what_runs_is_made_by_the_operator_alone(site: Site, clinic: str, plural: str) -> None:
    request = "POST", f"{path(clinic, plural)}?dryRun=All", document(plural, "new")
    for user in (ALICE, ""):
        assert site.found(user, *request) == FOREIGN
    assert site.found(OPERATOR, *request) == set()


PRIVILEGED = {"name": "x", "image": "registry.invalid/x:1", "securityContext": {"privileged": True}}
TOKEN = {"projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}}
PODS: list[tuple[str, dict[str, Any]]] = [
    ("with the token of a service account", {"automountServiceAccountToken": True, "serviceAccountName": "default"}),
    ("with a token in a volume", {"volumes": [{"name": "t", **TOKEN}]}),
    ("with a folder of the host", {"volumes": [{"name": "h", "hostPath": {"path": "/"}}]}),
    ("with the claim of the data", {"volumes": [{"name": "d", "persistentVolumeClaim": {"claimName": "data"}}]}),
    ("in the network of the host", {"hostNetwork": True}),
    ("bound to a node at once", {"nodeName": "admission-node"}),
    (
        "that may do everything to its node",
        {"containers": [{"name": "x", "image": "registry.invalid/x:1", "securityContext": {"privileged": True}}]},
    ),
]


@pytest.mark.parametrize("spec", [case[1] for case in PODS], ids=[case[0] for case in PODS])
def test_a_pod_of_ones_own(site: Site, clinic: str, spec: dict[str, Any]) -> None:
    body = {"metadata": {"name": "own"}, "spec": {**pod_spec(), **spec}}
    assert site.found(ALICE, "POST", f"{path(clinic, 'pods')}?dryRun=All", body) == FOREIGN


def test_a_job_has_no_template_that_could_be_overridden(site: Site, clinic: str) -> None:
    document = job("new")
    document["spec"]["template"] = {"spec": {"volumes": [{"name": "h", "hostPath": {"path": "/"}}]}}
    with pytest.raises(RequestError, match=r'unknown field "spec.template"'):
        site.ask(ALICE, "POST", f"{jobs(clinic)}?dryRun=All&fieldValidation=Strict", document)
    assert "template" not in site.ask(ALICE, "POST", f"{jobs(clinic)}?dryRun=All", document)["spec"]


@pytest.mark.parametrize("plural", WORKLOADS)
def test_elsewhere_everybody_makes_what_he_likes(site: Site, plural: str) -> None:
    assert site.found(ALICE, "POST", f"{path(site.free, plural)}?dryRun=All", document(plural, "new")) == set()


MADE_BY: list[tuple[str, str, dict[str, Any] | None, set[str]]] = [
    ("job-controller", "pods", OWNER, set()),
    ("replicaset-controller", "pods", OWNER, set()),
    ("statefulset-controller", "pods", OWNER, set()),
    ("job-controller", "pods", None, FOREIGN),
    ("job-controller", "pods", {**OWNER, "controller": False}, FOREIGN),
    ("daemon-set-controller", "pods", OWNER, FOREIGN),
    ("replication-controller", "pods", OWNER, FOREIGN),
    ("deployment-controller", "replicasets", OWNER, set()),
    ("deployment-controller", "replicasets", None, FOREIGN),
    ("cronjob-controller", "jobs", OWNER, FOREIGN),
]


@pytest.mark.parametrize(("controller", "plural", "owner", "rules"), MADE_BY, ids=lambda value: value if isinstance(value, str) else None)
def test_what_controllers_make(
    site: Site, clinic: str, controller: str, plural: str, owner: dict[str, Any] | None, rules: set[str]
) -> None:
    assert site.found(f"{CONTROLLERS}{controller}", "POST", f"{path(clinic, plural)}?dryRun=All", document(plural, "new", owner)) == rules


@pytest.fixture(scope="module")
def made(site: Site, clinic: str) -> str:
    """What the operator made and its controllers: pods, a Job with a pod of its own, a Deployment, and what else scales."""
    for plural in WORKLOADS:
        site.ask(OPERATOR, "POST", path(clinic, plural), document(plural, "made"))
    site.ask(f"{CONTROLLERS}job-controller", "POST", path(clinic, "pods"), document("pods", "owned", OWNER))
    site.admin.request("POST", "/api/v1/nodes", {"metadata": {"name": "admission-node"}})
    bound = document("pods", "bound")
    site.ask(OPERATOR, "POST", path(clinic, "pods"), {**bound, "spec": {**bound["spec"], "nodeName": "admission-node"}})
    return clinic


RELABELLED = {"metadata": {"labels": {"app": "y"}}}
IMAGE = {"spec": {"containers": [{"name": "x", "image": "registry.invalid/evil:1"}]}}
TEMPLATE = {"spec": {"template": {"metadata": {"annotations": {"restarted": "now"}}}}}
MOUNTED = {"spec": {"template": {"spec": {"volumes": [{"name": "v", "hostPath": {"path": "/"}}]}}}}
EPHEMERAL = {"spec": {"ephemeralContainers": [{"name": "e", "image": "registry.invalid/sh:1"}]}}
RESIZED = {"spec": {"containers": [{"name": "x", "resources": {"requests": {"cpu": "1"}}}]}}
TERMINATED = {"exitCode": 0, "reason": "Completed", "message": "{}"}
FORGED = {"status": {"phase": "Succeeded", "containerStatuses": [{"name": "x", "state": {"terminated": TERMINATED}}]}}
ANNOTATED = {"metadata": {"annotations": {"k8s.v1.cni.cncf.io/networks": "outside"}}}
NODE = {"apiVersion": "v1", "kind": "Node", "name": "admission-node"}
BYPASSES: list[tuple[str, str, str, str, dict[str, Any], set[str]]] = [
    ("image of a live pod", "PATCH", "pods", "made", IMAGE, FOREIGN),
    ("label of a pod, which detaches its network policy", "PATCH", "pods", "made", RELABELLED, FOREIGN),
    ("label through pods/status", "PATCH", "pods", "made/status", RELABELLED, FOREIGN),
    ("label through jobs/status", "PATCH", "jobs", "made/status", RELABELLED, FOREIGN),
    ("label through cronjobs/status", "PATCH", "cronjobs", "made/status", RELABELLED, FOREIGN),
    ("owner of a pod taken away", "PATCH", "pods", "owned", {"metadata": {"ownerReferences": None}}, FOREIGN),
    ("owner of a Job added", "PATCH", "jobs", "made", {"metadata": {"ownerReferences": [OWNER]}}, FOREIGN),
    ("scale of a Deployment", "PATCH", "deployments", "made/scale", {"spec": {"replicas": 0}}, FOREIGN),
    ("scale of a ReplicaSet", "PATCH", "replicasets", "made/scale", {"spec": {"replicas": 0}}, FOREIGN),
    ("scale of a StatefulSet", "PATCH", "statefulsets", "made/scale", {"spec": {"replicas": 0}}, FOREIGN),
    ("scale of a ReplicationController", "PATCH", "replicationcontrollers", "made/scale", {"spec": {"replicas": 0}}, FOREIGN),
    ("binding", "POST", "pods", "made/binding", {"target": NODE, "metadata": {"name": "made"}}, FOREIGN),
    ("container added to a live pod", "PATCH", "pods", "made/ephemeralcontainers", EPHEMERAL, ENTERED),
    ("resources of a live pod", "PATCH", "pods", "made/resize", RESIZED, FOREIGN),
    ("Job released from its suspension", "PATCH", "jobs", "made", {"spec": {"suspend": False}}, FOREIGN),
    ("template of a Deployment", "PATCH", "deployments", "made", TEMPLATE, FOREIGN),
    ("template with a folder of the host", "PATCH", "deployments", "made", MOUNTED, FOREIGN),
    ("template of a CronJob", "PATCH", "cronjobs", "made", {"spec": {"suspend": True}}, FOREIGN),
    ("what a pod has found, through its status", "PATCH", "pods", "made/status", FORGED, FOREIGN),
    ("that a Job has succeeded", "PATCH", "jobs", "made/status", {"status": {"succeeded": 1}}, FOREIGN),
    ("another network by a pod's annotation", "PATCH", "pods", "made", ANNOTATED, FOREIGN),
    ("the same through its status", "PATCH", "pods", "made/status", ANNOTATED, FOREIGN),
    ("an annotation of a Job changes nothing that runs", "PATCH", "jobs", "made", {"metadata": {"annotations": {"note": "x"}}}, set()),
    ("a finalizer neither", "PATCH", "jobs", "made", {"metadata": {"finalizers": ["finetune.dev/test"]}}, set()),
]


@pytest.mark.parametrize(
    ("method", "plural", "name", "change", "rules"), [case[1:] for case in BYPASSES], ids=[case[0] for case in BYPASSES]
)
def test_a_way_round(site: Site, made: str, method: str, plural: str, name: str, change: dict[str, Any], rules: set[str]) -> None:
    content = STRATEGIC if method == "PATCH" and name.startswith("made") else MERGE if method == "PATCH" else "application/json"
    assert site.found(ALICE, method, f"{path(made, plural, name)}?dryRun=All", change, content) == rules


@pytest.mark.parametrize("plural", WORKLOADS)
def test_labels_are_not_changed_through_the_status(site: Site, made: str, plural: str) -> None:
    """Of pods, Jobs and some others Kubernetes would take them."""
    refused = site.found(ALICE, "PATCH", f"{path(made, plural, 'made')}/status", RELABELLED, MERGE)
    assert refused in (set(), FOREIGN)
    assert site.admin.request("GET", path(made, plural, "made"))["metadata"]["labels"] == {"app": "x"}


def test_a_binding_by_its_older_path(site: Site, made: str) -> None:
    binding = {"metadata": {"name": "made"}, "target": NODE}
    request = "POST", f"{NAMESPACES}/{made}/bindings?dryRun=All", binding
    assert site.found(ALICE, *request) == FOREIGN
    assert site.found("system:kube-scheduler", *request) == set()


DUTIES: list[tuple[str, str, str, str, str, dict[str, Any]]] = [
    ("scheduler binds", "system:kube-scheduler", "POST", "pods", "made/binding", {"target": NODE, "metadata": {"name": "made"}}),
    ("kubelet reports", "system:node:admission-node", "PATCH", "pods", "bound/status", FORGED),
    ("network plugin annotates", "", "PATCH", "pods", "made/status", ANNOTATED),
    ("operator annotates", OPERATOR, "PATCH", "pods", "made", ANNOTATED),
    ("Job controller counts", f"{CONTROLLERS}job-controller", "PUT", "jobs", "made/status", {"status": {"active": 1}}),
    ("operator suspends", OPERATOR, "PATCH", "jobs", "made", {"spec": {"suspend": False}}),
    ("operator rolls out", OPERATOR, "PATCH", "deployments", "made", TEMPLATE),
    ("Job controller releases", f"{CONTROLLERS}job-controller", "PATCH", "pods", "owned", {"metadata": {"ownerReferences": None}}),
    ("collector lets go", f"{CONTROLLERS}generic-garbage-collector", "PATCH", "pods", "owned", {"metadata": {"ownerReferences": None}}),
    ("Deployment controller scales", f"{CONTROLLERS}deployment-controller", "PUT", "replicasets", "made", {"spec": {"replicas": 2}}),
]


@pytest.mark.parametrize(("user", "method", "plural", "name", "change"), [case[1:] for case in DUTIES], ids=[case[0] for case in DUTIES])
def test_what_kubernetes_does_is_let_pass(
    site: Site, made: str, user: str, method: str, plural: str, name: str, change: dict[str, Any]
) -> None:
    body = change
    if method == "PUT":
        present = site.admin.request("GET", path(made, plural, name))
        body = {**present, **{part: {**present.get(part, {}), **changes} for part, changes in change.items()}}
    content = MERGE if method == "PATCH" else "application/json"
    assert site.found(user, method, f"{path(made, plural, name)}?dryRun=All", body, content) == set()


def test_deleting_stays_possible_for_whoever_may(site: Site, made: str) -> None:
    assert site.found(ALICE, "DELETE", f"{path(made, 'pods', 'made')}?dryRun=All") == set()


RUN_OWNER = {**OWNER, "apiVersion": "finetune.dev/v1alpha1", "kind": "FineTuneJob"}
DOCUMENTS: list[tuple[str, str, str, dict[str, Any] | None, set[str]]] = [
    ("made before the operator does, as its own", "POST", "", configmap("run", managed=True), FOREIGN),
    ("made before the operator does, as a job's", "POST", "", configmap("run", owner=RUN_OWNER), FOREIGN),
    ("deleted, to be made anew", "DELETE", "document", None, FOREIGN),
    ("deleted with all others", "DELETE", "", None, FOREIGN),
    ("changed", "PATCH", "document", {"data": {"run.json": "{1}"}}, FOREIGN),
    ("made anybody's", "PATCH", "document", {"metadata": {"labels": None, "ownerReferences": None}}, FOREIGN),
    ("somebody's own made the operator's", "PATCH", "own", {"metadata": {"ownerReferences": [RUN_OWNER]}}, FOREIGN),
    ("annotated", "PATCH", "document", {"metadata": {"annotations": {"note": "x"}}}, set()),
    ("one's own made", "POST", "", configmap("mine"), set()),
    ("one's own of another owner", "POST", "", configmap("mine", owner=OWNER), set()),
    ("one's own changed", "PATCH", "own", {"data": {"x": "y"}}, set()),
    ("one's own deleted", "DELETE", "own", None, set()),
]


@pytest.fixture(scope="module")
def documented(site: Site) -> str:
    there = site.namespace(CLINIC)
    site.ask(OPERATOR, "POST", f"{NAMESPACES}/{there}/configmaps", configmap("document", managed=True, owner=RUN_OWNER))
    site.ask(ALICE, "POST", f"{NAMESPACES}/{there}/configmaps", configmap("own"))
    return there


@pytest.mark.parametrize(("method", "name", "body", "rules"), [case[1:] for case in DOCUMENTS], ids=[case[0] for case in DOCUMENTS])
def test_what_tells_a_run_what_to_do(
    site: Site, documented: str, method: str, name: str, body: dict[str, Any] | None, rules: set[str]
) -> None:
    where = f"{NAMESPACES}/{documented}/configmaps" + (f"/{name}" if name else "")
    request = method, f"{where}?dryRun=All", body, MERGE if method == "PATCH" else "application/json"
    assert site.found(ALICE, *request) == rules
    assert site.found(OPERATOR, *request) == set()
    if method == "DELETE" and name:
        assert site.found(f"{CONTROLLERS}generic-garbage-collector", *request) == set()


CONNECTIONS = ("exec?command=id", "attach?stdin=true", "portforward?ports=80")


@pytest.mark.parametrize("how", CONNECTIONS)
@pytest.mark.parametrize(
    ("labels", "rules"),
    [
        ({GOVERNED: "true", CLEARANCE: "restricted"}, ENTERED),
        ({GOVERNED: "true", CLEARANCE: "confidential"}, ENTERED),
        ({GOVERNED: "true", CLEARANCE: "internal", LEVEL: "confidential"}, ENTERED),
        ({GOVERNED: "true", CLEARANCE: "internal"}, set()),
    ],
    ids=["restricted", "confidential", "by its floor", "internal"],
)
def test_a_way_in(site: Site, how: str, labels: dict[str, str], rules: set[str]) -> None:
    """A pod without a node cannot be entered, so where the policies let it pass the API server has another answer."""
    there = site.shared_namespace(labels)
    for user in (ALICE, ""):
        assert entered(site, user, "POST", f"{path(there, 'pods', 'made')}/{how}") == rules


@pytest.mark.parametrize("what", ["pods/made/proxy/", "services/made/proxy/"])
def test_a_way_in_by_proxy(site: Site, made: str, what: str) -> None:
    open_to_all = site.shared_namespace({GOVERNED: "true", CLEARANCE: "internal"})
    for method in ("GET", "POST"):
        assert entered(site, ALICE, method, f"{NAMESPACES}/{made}/{what}") == ENTERED
        assert entered(site, ALICE, method, f"{NAMESPACES}/{open_to_all}/{what}") == set()


def entered(site: Site, user: str, method: str, where: str) -> set[str]:
    try:
        site.ask(user, method, where)
    except Refused as refused:
        return refused.rules
    except RequestError as error:
        if error.status not in {400, 404, 500, 503}:
            raise
    return set()


@pytest.fixture(scope="module")
def isolated(site: Site, clinic: str) -> str:
    site.ask(OPERATOR, "POST", networkpolicies(clinic), networkpolicy("made"))
    return clinic


OPENED = {"spec": {"ingress": [{}]}}
POLICY_REQUESTS: list[tuple[str, str, str, dict[str, Any] | None]] = [
    ("created", "POST", "", networkpolicy("new")),
    ("changed", "PATCH", "made", OPENED),
    ("detached", "PATCH", "made", RELABELLED),
    ("deleted", "DELETE", "made", None),
    ("deleted with all others", "DELETE", "", None),
]


@pytest.mark.parametrize(("method", "name", "body"), [case[1:] for case in POLICY_REQUESTS], ids=[case[0] for case in POLICY_REQUESTS])
def test_a_foreign_network_policy(site: Site, isolated: str, method: str, name: str, body: dict[str, Any] | None) -> None:
    request = method, f"{networkpolicies(isolated, name)}?dryRun=All", body, MERGE if method == "PATCH" else "application/json"
    for user in (ALICE, ""):
        assert site.found(user, *request) == {"ForeignNetworkPolicy"}
    assert site.found(OPERATOR, *request) == set()


def test_network_policies_go_with_what_owns_them_and_with_their_namespace(site: Site, isolated: str) -> None:
    for controller in ("generic-garbage-collector", "namespace-controller"):
        assert site.found(f"{CONTROLLERS}{controller}", "DELETE", f"{networkpolicies(isolated, 'made')}?dryRun=All") == set()
    assert site.found(ALICE, "PATCH", f"{networkpolicies(isolated, 'made')}?dryRun=All", {"metadata": {"finalizers": None}}, MERGE) == set()


def test_elsewhere_network_policies_are_everybodys(site: Site) -> None:
    assert site.found(ALICE, "POST", f"{networkpolicies(site.free)}?dryRun=All", networkpolicy("new")) == set()
