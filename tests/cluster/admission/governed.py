"""Governed namespaces on a real API server with the chart's admission policies, and the people who try things there. No operator runs."""

import copy
import re
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from finetune_operator.api.base import API_VERSION, GROUP, VERSION
from finetune_operator.api.crd import ADAPTERDEPLOYMENT, APPROVAL, FINETUNEJOB, GOVERNANCEFACTS, GOVERNANCEPOLICY, KINDS, TRAININGDATASET
from finetune_operator.api.governance import current
from finetune_operator.domain.governance.snapshot import snapshot
from finetune_operator.domain.governance.view import GovernanceView, read_policy
from finetune_operator.manifests.admission import POLICIES
from finetune_testbed.apiserver import MERGE, ApiServer, RequestError
from finetune_testbed.bed import Testbed
from finetune_trainer.contract.governance import RuleId
from finetune_trainer.contract.governance import vocabulary as words
from finetune_trainer.contract.governance.enclosure import EnclosureRuleId
from finetune_trainer.contract.governance.facts import Site as Places
from tests.cluster.chart import NAME, NAMESPACE, Helm
from tests.cluster.crd import MINIMAL, install

Object = dict[str, Any]
REGISTRATION = "/apis/admissionregistration.k8s.io/v1"
NAMESPACES = "/api/v1/namespaces"
STRATEGIC = "application/strategic-merge-patch+json"
OPERATOR = f"system:serviceaccount:{NAMESPACE}:{NAME}"
CONTROLLERS = "system:serviceaccount:kube-system:"
ALICE, BOB = "alice", "bob"
"""Each with every right inside every governed namespace of the tests, and none outside."""
DAVE = "dave"
"""With rights to policies and definitions of the whole cluster, but not the verb that the chart gives to platform admins."""
PLACES, SITE_REGIMES = ("eu-de", "onprem-a"), ("trial",)
ENGINES = ("registry.invalid:5000/a/vllm", "registry.invalid/vllm", "vllm")
VALUES = (
    "--set",
    f"governance.enabled=true,governance.residencies={{{','.join(PLACES)}}},governance.regimes={{{','.join(SITE_REGIMES)}}}",
    "--set",
    f"governance.engineImages={{{','.join(ENGINES)}}}",
)
DIGEST = "sha256:" + "a" * 64
LEVEL, RESIDENCY, SUBMITTED_BY = words.LABEL_LEVEL, words.LABEL_RESIDENCY, words.ANNOTATION_SUBMITTED_BY
PHI = f"{words.REGIME_LABELS}phi"
GOVERNED, CLEARANCE = words.LABEL_GOVERNED, words.LABEL_CLEARANCE_LEVEL
CLINIC = {GOVERNED: "true", CLEARANCE: "restricted", f"{words.CLEARANCE_LABELS}phi": "true", RESIDENCY: "onprem-a"}
LABELS = {LEVEL: "confidential", RESIDENCY: "onprem-a", PHI: "true"}
ODD = (
    {**CLINIC, CLEARANCE: "Restricted"},
    {**CLINIC, LEVEL: "top"},
    {**CLINIC, GOVERNED: "True"},
    {**CLINIC, RESIDENCY: "moon", f"{words.REGIME_LABELS}hippa": "true"},
    {**CLINIC, PHI: "yes"},
)
"""Labels of namespaces that no policy would take."""
PATIENCE = 120.0
_RULES = "|".join([*RuleId, *EnclosureRuleId])
_DENIED = re.compile(r"ValidatingAdmissionPolicy '([^']+)' with binding '[^']+' denied request: (?:\d+ finding\(s\): )?(.*)", re.DOTALL)


class Refused(Exception):
    """By an admission policy: its name, and what it told."""

    def __init__(self, policy: str, line: str) -> None:
        super().__init__(f"{policy}: {line}")
        self.policy = policy
        self.findings = tuple(re.split(rf"; (?=(?:{_RULES}): )", line))

    @property
    def rules(self) -> set[str]:
        return {finding.partition(":")[0] for finding in self.findings}


class Site:
    """The API server, as whoever asks."""

    def __init__(self, bed: Testbed, stack: ExitStack) -> None:
        self.bed = bed
        self._stack = stack
        self._connections: dict[str, ApiServer] = {}
        self._made: list[str] = []
        self._shared: dict[frozenset[tuple[str, str]], str] = {}
        self._older: dict[frozenset[tuple[str, str]], str] = {}
        self.admin = self.by("")

    def by(self, user: str) -> ApiServer:
        if user not in self._connections:
            self._connections[user] = self._stack.enter_context(ApiServer(self.bed, user=user))
        return self._connections[user]

    def install_kinds(self) -> None:
        for kind in KINDS:
            install(self.admin, kind)

    def ask(self, user: str, method: str, path: str, body: Object | None = None, content_type: str = "application/json") -> Any:
        """Raises `Refused` where an admission policy did, and `RequestError` for anything else."""
        try:
            return self.by(user).request(method, path, body, content_type)
        except RequestError as error:
            denied = _DENIED.search(str(error)) if error.status in {403, 422} else None
            if denied is None:
                raise
            raise Refused(denied[1], denied[2]) from error

    def found(self, user: str, method: str, path: str, body: Object | None = None, content_type: str = "application/json") -> set[str]:
        """The rules that refuse it; none where it is let pass."""
        try:
            self.ask(user, method, path, body, content_type)
        except Refused as refused:
            return refused.rules
        return set()

    def namespace(self, labels: dict[str, str]) -> str:
        """A fresh one with these labels, in which alice, bob and the operator may do everything."""
        name = f"gov-{uuid.uuid4().hex[:8]}"
        self.admin.request("POST", NAMESPACES, {"metadata": {"name": name, "labels": labels}})
        account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}}
        self.admin.apply(f"{NAMESPACES}/{name}/serviceaccounts/default", account)
        self._made.append(name)
        self.grant(name)
        if GOVERNED in labels:
            self.tell(name)
        return name

    def tell(self, namespace: str, policies: Sequence[Object] | None = None, datasets: Sequence[Object] | None = None) -> None:
        """Write the facts as the operator would, and wait until admission has them: `HOUSE` and `DATA` where nothing else is given."""
        labels = self.admin.request("GET", f"{NAMESPACES}/{namespace}")["metadata"]["labels"]
        view = view_of(labels, [HOUSE] if policies is None else policies, DATA if datasets is None else datasets)
        document = {"apiVersion": API_VERSION, "kind": current.KIND, "metadata": {"name": current.CURRENT}}
        self.admin.apply(facts(namespace), {**document, "spec": snapshot(view).to_manifest()})
        self._until(lambda: self._has_facts(namespace))

    def _has_facts(self, namespace: str) -> bool:
        try:
            self.ask(ALICE, "POST", f"{jobs(namespace)}?dryRun=All", job("probe"))
        except Refused as refused:
            return "no params found" not in str(refused)
        return True

    def grant(self, name: str) -> None:
        """Let alice, bob and the operator do everything there, and wait until they may and admission knows the namespace."""
        subjects = [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": user} for user in (ALICE, BOB, OPERATOR)]
        role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"}
        binding = {"metadata": {"name": "everything"}, "roleRef": role, "subjects": subjects}
        self.admin.request("POST", f"/apis/rbac.authorization.k8s.io/v1/namespaces/{name}/rolebindings", binding)
        self._until(lambda: self.by(BOB).request("GET", f"{NAMESPACES}/{name}/configmaps") and self._is_known(name))

    def grant_cluster(self, user: str) -> None:
        """Let this user write policies of governance and definitions of kinds."""
        group, name = "/apis/rbac.authorization.k8s.io/v1", f"{user}-writes-policies"
        groups = {"finetune.dev": ["governancepolicies"], "apiextensions.k8s.io": ["customresourcedefinitions"]}
        verbs = ["get", "create", "update", "patch", "delete", "deletecollection"]
        rules = [{"apiGroups": [group], "resources": resources, "verbs": verbs} for group, resources in groups.items()]
        self.admin.apply(f"{group}/clusterroles/{name}", {**_rbac("ClusterRole", name), "rules": rules})
        self.admin.apply(f"{group}/clusterrolebindings/{name}", {**_rbac("ClusterRoleBinding", name), **_bound(name, "ClusterRole", user)})

    def allow(self, user: str, namespace: str, *rules: Object) -> None:
        """Give this user these rights there, and no others."""
        group, name = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}", f"of-{user}"
        self.admin.apply(f"{group}/roles/{name}", {**_rbac("Role", name), "rules": list(rules)})
        self.admin.apply(f"{group}/rolebindings/{name}", {**_rbac("RoleBinding", name), **_bound(name, "Role", user)})

    def older_namespace(self, labels: dict[str, str]) -> str:
        """One with these labels that is older than the policies, which would not take all words; they have to be among `ODD`."""
        return self._older[frozenset(labels.items())]

    def prepare(self) -> None:
        """Make what must be older than the policies."""
        for labels in ODD:
            self._older[frozenset(labels.items())] = self.namespace(labels)

    @property
    def free(self) -> str:
        """A namespace that is not governed."""
        return self.shared_namespace({})

    def shared_namespace(self, labels: dict[str, str]) -> str:
        """One with these labels, the same for every test that asks, with a pod "made" in it."""
        key = frozenset(labels.items())
        if key not in self._shared:
            self._shared[key] = self.namespace(labels)
            self.pod(self._shared[key], "made")
        return self._shared[key]

    def until_found(self, rules: set[str], *request: Any) -> None:
        """Wait until this request is refused by these rules: namespaces are read from a cache."""
        self._until(lambda: self.found(*request) == rules)

    def until_listed(self, user: str, namespace: str) -> None:
        """Wait until this user may list Approvals there."""
        self._until(lambda: self.by(user).request("GET", approvals(namespace)))

    def relabel(self, namespace: str, labels: Object) -> None:
        self.admin.request("PATCH", f"{NAMESPACES}/{namespace}", {"metadata": {"labels": labels}}, MERGE)

    def enforce(self, helm: Helm, *values: str) -> None:
        """Apply what the chart renders, and wait until every policy refuses what it must."""
        for document in helm.template(*VALUES, *values, "--show-only", "templates/admission.yaml"):
            plural = f"{document['kind'].removesuffix('y')}ies" if document["kind"].endswith("y") else f"{document['kind']}s"
            group = f"/apis/{document['apiVersion']}/{plural.lower()}"
            self.admin.apply(f"{group}/{document['metadata']['name']}", document)
        self.admin.apply(policies(MATCHING["metadata"]["name"]), MATCHING)
        here = self.namespace(CLINIC)
        self.pod(here, "probe")
        self.grant_cluster(DAVE)
        self.ask(ALICE, "POST", jobs(here), job("probe"))
        misspelt = {"metadata": {"name": here, "labels": {GOVERNED: "yes"}}}
        probes = (
            (ALICE, "POST", f"{jobs(here)}?dryRun=All", job("probe", labels={})),
            (ALICE, "POST", f"{deployments(here)}?dryRun=All", deployment("probe", labels={})),
            (ALICE, "POST", f"{deployments(here)}?dryRun=All", deployment("probe", image=f"evil@{DIGEST}")),
            (ALICE, "POST", f"{NAMESPACES}/{here}/pods?dryRun=All", pod("other")),
            (ALICE, "POST", f"{NAMESPACES}/{here}/pods/probe/exec?command=id", None),
            (ALICE, "POST", f"{networkpolicies(here)}?dryRun=All", networkpolicy("probe")),
            ("", "PUT", f"{NAMESPACES}/{here}?dryRun=All", misspelt),
            (ALICE, "PUT", f"{NAMESPACES}/{here}?dryRun=All", {"metadata": {"name": here, "labels": {**CLINIC, TEAM: "a"}}}),
            (ALICE, "POST", f"{datasets(here)}?dryRun=All", dataset("probe", regimes=["hippa"])),
            (ALICE, "POST", f"{approvals(here)}?dryRun=All", approval("probe", BOB)),
            (ALICE, "POST", f"{approvals(here)}?dryRun=All", approval("probe", ALICE)),
            (DAVE, "POST", f"{policies()}?dryRun=All", policy("probe")),
            (ALICE, "DELETE", f"{facts(here)}?dryRun=All", None),
            (ALICE, "POST", f"{NAMESPACES}/{here}/configmaps?dryRun=All", configmap("probe", managed=True)),
            (ALICE, "PUT", f"{jobs(here, 'probe')}/status?dryRun=All", self.admin.request("GET", jobs(here, "probe"))),
        )
        refusing: set[str] = set()
        self._until(lambda: refusing.update(self._refusing(*probe) for probe in probes) or len(refusing - {""}) == len(POLICIES))

    def withdraw(self) -> None:
        """Take the policies away, and what was made under them."""
        plurals = {"ValidatingAdmissionPolicyBinding": "validatingadmissionpolicybindings"}
        for policy in POLICIES:
            for document in reversed(policy.to_manifests()):
                plural = plurals.get(document["kind"], "validatingadmissionpolicies")
                self.admin.request("DELETE", f"{REGISTRATION}/{plural}/{document['metadata']['name']}")
        self.admin.request("DELETE", policies(MATCHING["metadata"]["name"]))
        for name in self._made:
            for path in (jobs(name), deployments(name), datasets(name), f"{NAMESPACES}/{name}"):
                self.admin.request("DELETE", path)

    def pod(self, namespace: str, name: str) -> None:
        """One that the operator made."""
        self.ask(OPERATOR, "POST", f"{NAMESPACES}/{namespace}/pods", pod(name))

    def _refusing(self, user: str, method: str, path: str, body: Object | None) -> str:
        try:
            self.ask(user, method, path, body)
        except Refused as refused:
            return refused.policy
        except RequestError:
            return ""
        return ""

    def _is_known(self, namespace: str) -> bool:
        """The admission policies read namespaces from a cache; what they have not heard of yet is not found."""
        self.ask(BOB, "POST", f"{NAMESPACES}/{namespace}/configmaps?dryRun=All", {"metadata": {"name": "probe"}})
        return True

    def _until(self, look: Any) -> None:
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                if look():
                    return
                last = "not yet"
            except (RequestError, Refused) as error:
                last = str(error)
            assert time.monotonic() < deadline, last
            time.sleep(0.05)


def jobs(namespace: str, name: str = "") -> str:
    return _path(f"/apis/{GROUP}/{VERSION}", namespace, FINETUNEJOB.plural, name)


def deployments(namespace: str, name: str = "") -> str:
    return _path(f"/apis/{GROUP}/{VERSION}", namespace, ADAPTERDEPLOYMENT.plural, name)


def networkpolicies(namespace: str, name: str = "") -> str:
    return _path("/apis/networking.k8s.io/v1", namespace, "networkpolicies", name)


def facts(namespace: str) -> str:
    return _path(f"/apis/{GROUP}/{VERSION}", namespace, GOVERNANCEFACTS.plural, current.CURRENT)


def view_of(labels: dict[str, str], policies: Sequence[Object], datasets: Sequence[Object]) -> GovernanceView:
    """What the operator would know of a namespace with these."""
    return GovernanceView(
        namespace_labels=labels,
        policies=tuple(read_policy(each) for each in policies),
        datasets={each["metadata"]["name"]: each for each in datasets},
        site=Places(residencies=PLACES, regimes=SITE_REGIMES),
    )


def datasets(namespace: str, name: str = "") -> str:
    return _path(f"/apis/{GROUP}/{VERSION}", namespace, TRAININGDATASET.plural, name)


def approvals(namespace: str, name: str = "") -> str:
    return _path(f"/apis/{GROUP}/{VERSION}", namespace, APPROVAL.plural, name)


def policies(name: str = "") -> str:
    return f"/apis/{GROUP}/{VERSION}/{GOVERNANCEPOLICY.plural}" + (f"/{name}" if name else "")


def _path(group: str, namespace: str, plural: str, name: str) -> str:
    return f"{group}/namespaces/{namespace}/{plural}" + (f"/{name}" if name else "")


def job(name: str, labels: dict[str, str] = LABELS, submitter: str | None = ALICE, *, pinned: bool = True) -> Object:
    """A FineTuneJob that satisfies all rules of the namespace with labels `CLINIC`."""
    spec = copy.deepcopy(MINIMAL)
    spec["dataset"] = {"ref": {"name": "notes" if pinned else "loose"}}
    if pinned:
        spec["baseModel"]["digest"] = DIGEST
    annotations = {} if submitter is None else {SUBMITTED_BY: submitter}
    metadata = {"name": name, "labels": labels, "annotations": annotations}
    return {"apiVersion": API_VERSION, "kind": FINETUNEJOB.kind, "metadata": metadata, "spec": spec}


def deployment(name: str, labels: dict[str, str] = LABELS, *, image: str = "", pinned: bool = True) -> Object:
    """An AdapterDeployment that does."""
    spec = {
        "modelName": name,
        "adapter": {"fineTuneJobRef": {"name": "j"}},
        "baseModel": {"uri": "pvc://m/b", **({"digest": DIGEST} if pinned else {})},
        "server": {"managed": {"image": image} if image else {}},
    }
    return {"apiVersion": API_VERSION, "kind": ADAPTERDEPLOYMENT.kind, "metadata": {"name": name, "labels": labels}, "spec": spec}


def dataset(name: str, **spec: Any) -> Object:
    """A TrainingDataset that satisfies all rules of the namespace with labels `CLINIC`, and whose data a job with `LABELS` may use."""
    described = {"level": "confidential", "regimes": ["phi"], "residency": "onprem-a"}
    given = {"uri": f"pvc://data/{name}.jsonl", "digest": DIGEST, **described, **spec}
    data = {field: value for field, value in given.items() if value is not None}
    return {"apiVersion": API_VERSION, "kind": TRAININGDATASET.kind, "metadata": {"name": name}, "spec": data}


def approval(subject: str, approver: str, digest: str = DIGEST, stage: str = "Train") -> Object:
    spec = {"subjectRef": {"name": subject}, "subjectDigest": digest, "stage": stage, "approver": approver, "reason": "reviewed"}
    return {"apiVersion": API_VERSION, "kind": APPROVAL.kind, "metadata": {"name": f"{subject}-{approver}"}, "spec": spec}


def policy(name: str, **spec: Any) -> Object:
    return {"apiVersion": API_VERSION, "kind": GOVERNANCEPOLICY.kind, "metadata": {"name": name}, "spec": spec}


def _rbac(kind: str, name: str) -> Object:
    return {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": kind, "metadata": {"name": name}}


def _bound(role: str, kind: str, user: str) -> Object:
    api = "rbac.authorization.k8s.io"
    return {"roleRef": {"apiGroup": api, "kind": kind, "name": role}, "subjects": [{"kind": "User", "apiGroup": api, "name": user}]}


TEAM = "example.com/team"
MATCHING = policy("teams", match={"namespaceLabels": {TEAM: "clinic"}}, approvals=[{"stage": "Train"}])
"""Finds its namespaces by a label that is not of finetune.dev."""
HOUSE = policy("house", zones=["*"], dataSources=["*"])
"""Applies to everything; says nothing of digests, so that they are asked for from confidential on."""
_OPEN = {"level": "public", "regimes": [], "residency": "any"}
DATA = tuple(dataset(name, **_OPEN, digest=digest) for name, digest in (("notes", DIGEST), ("loose", None), ("rows", None)))
"""What jobs use here unless a case says otherwise; only the first has a digest."""


def configmap(name: str, *, managed: bool = False, owner: Object | None = None) -> Object:
    labels = {"app.kubernetes.io/managed-by": "finetune-operator"} if managed else {}
    return {"metadata": {"name": name, "labels": labels, **({"ownerReferences": [owner]} if owner else {})}, "data": {"run.json": "{}"}}


def pod(name: str, owner: Object | None = None) -> Object:
    metadata: Object = {"name": name, "labels": {"app": "x"}, **({"ownerReferences": [owner]} if owner else {})}
    return {"kind": "Pod", "apiVersion": "v1", "metadata": metadata, "spec": pod_spec()}


def pod_spec(image: str = "registry.invalid/x:1") -> Object:
    return {
        "containers": [{"name": "x", "image": image, "resources": {"requests": {"cpu": "100m"}}}],
        "automountServiceAccountToken": False,
    }


def networkpolicy(name: str) -> Object:
    return {"metadata": {"name": name}, "spec": {"podSelector": {}, "egress": [{}], "policyTypes": ["Egress"]}}


@contextmanager
def site(bed: Testbed) -> Iterator[Site]:
    """Without policies yet."""
    with ExitStack() as stack:
        here = Site(bed, stack)
        here.install_kinds()
        yield here
