"""The policies that close a governed namespace: what runs there, who gets in, and which network policies there are.

What is not covered, and why, is in docs/governance/admission.md.
"""

from finetune_operator.manifests.admission import classified
from finetune_operator.manifests.admission.cel import differs, quoted, text, texts, together, told, when
from finetune_operator.manifests.admission.policy import OPERATORS, AdmissionPolicy, Requests, Validation, Variables
from finetune_trainer.contract.governance import vocabulary as words
from finetune_trainer.contract.governance.enclosure import EnclosureRuleId

CONTROLLER_MANAGER = "system:kube-controller-manager"
"""Acts for all controllers where it runs without ``--use-service-account-credentials``."""


def _controllers(*names: str) -> str:
    return texts([CONTROLLER_MANAGER, *(f"system:serviceaccount:kube-system:{name}" for name in names)])


POD_MAKERS = _controllers("job-controller", "replicaset-controller", "statefulset-controller")
REPLICASET_MAKERS = _controllers("deployment-controller")
CHANGERS = _controllers(
    "job-controller",
    "replicaset-controller",
    "statefulset-controller",
    "deployment-controller",
    "daemon-set-controller",
    "cronjob-controller",
    "replication-controller",
    "generic-garbage-collector",
)
COLLECTORS = _controllers("generic-garbage-collector", "namespace-controller")
SCHEDULERS = texts(["system:kube-scheduler"])

ASKER: Variables = {
    "operators": f"[] + {OPERATORS}",
    "asker": "request.userInfo.username",
    "shown": "variables.asker.matches('^[!-~]{1,128}$') ? variables.asker : 'who asks'",
    "subresource": "request.?subResource.orValue('')",
    "what": "request.resource.resource + (variables.subresource == '' ? '' : '/' + variables.subresource)",
}
CHANGED_PARTS = together(
    f"({differs(path)} ? [{text(name)}] : [])"
    for path, name in (("?spec", "spec"), ("metadata.?labels", "labels"), ("metadata.?ownerReferences", "ownerReferences"))
)
_HERE_AND_ELSEWHERE = "authorizer.group(request.resource.group).resource(request.resource.resource).subresource(variables.subresource)"
MAY_EVERYWHERE = f"{_HERE_AND_ELSEWHERE}.check('update').allowed() || {_HERE_AND_ELSEWHERE}.check('patch').allowed()"
"""Whether who asks may do this in every namespace, as kubelets, controllers and network plugins may and nobody whose rights end here."""
_KINDS = ("deployments", "replicasets", "statefulsets", "daemonsets")
_CHANGES = ("UPDATE",)
_BOTH = ("CREATE", "UPDATE")


def workloads() -> AdmissionPolicy:
    variables: Variables = {
        **ASKER,
        "isOperator": "variables.asker in variables.operators",
        "owned": "object.metadata.?ownerReferences.orValue([]).exists(o, o.?controller.orValue(false))",
        "mayCreate": " || ".join(
            (
                "variables.isOperator",
                f"variables.what == 'pods' && variables.asker in {POD_MAKERS} && variables.owned",
                f"variables.what == 'replicasets' && variables.asker in {REPLICASET_MAKERS} && variables.owned",
                f"variables.what in ['bindings', 'pods/binding'] && variables.asker in {SCHEDULERS}",
            )
        ),
        "mayChange": f"variables.isOperator || variables.asker in {CHANGERS}",
        "changed": f"request.operation == 'UPDATE' ? ({CHANGED_PARTS}) : []",
        "foreign": together((_made(), _altered())),
        "entered": when(
            "variables.what == 'pods/ephemeralcontainers'",
            told(EnclosureRuleId.INTERACTIVE_ACCESS, "variables.what", text("no container is added to a running pod")),
        ),
        "findings": "variables.foreign + variables.entered",
        "reported": _reported(),
    }
    return AdmissionPolicy(
        name="workloads",
        message="in a governed namespace only the operator and the controllers of Kubernetes make, change and report on what runs",
        requests=(
            Requests("", "v1", ("pods", "replicationcontrollers"), _BOTH),
            Requests("", "v1", ("bindings", "pods/binding"), ("CREATE",)),
            Requests("", "v1", ("pods/status", "pods/resize", "pods/ephemeralcontainers"), _CHANGES),
            Requests("", "v1", ("replicationcontrollers/status", "replicationcontrollers/scale"), _CHANGES),
            Requests("apps", "v1", _KINDS, _BOTH),
            Requests("apps", "v1", tuple(f"{kind}/{part}" for kind in _KINDS for part in ("status", "scale")), _CHANGES),
            Requests("batch", "v1", ("jobs", "cronjobs"), _BOTH),
            Requests("batch", "v1", ("jobs/status", "cronjobs/status"), _CHANGES),
        ),
        variables=variables,
        validations=(Validation("findings"), Validation("reported", unless=MAY_EVERYWHERE)),
    )


HERE: Variables = {
    "namespaceLabels": classified.NAMESPACE["namespaceLabels"],
    "floorRank": classified.CLASSIFICATION["floorRank"],
    "clearanceRank": classified.CLASSIFICATION["clearanceRank"],
}
CONFIDENTIAL_HERE = (
    f"variables.clearanceRank < 0 || variables.clearanceRank >= {classified.RANK_CONFIDENTIAL} || "
    f"variables.floorRank >= {classified.RANK_CONFIDENTIAL}"
)
"""Whether data of the namespace may be confidential; a clearance that is no level may be any."""


def connections() -> AdmissionPolicy:
    reason = quoted("namespaceObject.metadata.name", before="namespace ", after=f" may hold {words.Level.CONFIDENTIAL} data")
    variables: Variables = {
        "levels": classified.VOCABULARY["levels"],
        **HERE,
        "what": f"request.resource.resource + '/' + {ASKER['subresource']}",
        "findings": when(CONFIDENTIAL_HERE, told(EnclosureRuleId.INTERACTIVE_ACCESS, "variables.what", reason)),
    }
    return AdmissionPolicy(
        name="connections",
        message="nobody enters a pod of a governed namespace that may hold confidential data",
        requests=(Requests("", "v1", ("pods/exec", "pods/attach", "pods/portforward", "pods/proxy", "services/proxy"), ("CONNECT",)),),
        variables=variables,
    )


def networkpolicies() -> AdmissionPolicy:
    every = ("CREATE", "UPDATE", "DELETE")
    allowed = f"variables.asker in variables.operators || (request.operation != 'CREATE' && variables.asker in {COLLECTORS})"
    done = "{'CREATE': 'made', 'UPDATE': 'changed', 'DELETE': 'deleted'}[request.operation]"
    reason = f"{quoted('variables.shown')} + ' may not have it ' + {done}"
    variables: Variables = {
        **ASKER,
        "findings": when(f"!({allowed})", told(EnclosureRuleId.FOREIGN_NETWORK_POLICY, "variables.what", reason)),
    }
    unchanged = " && ".join(f"!({differs(path)})" for path in ("?spec", "?specs", "metadata.?labels", "metadata.?ownerReferences"))
    return AdmissionPolicy(
        name="networkpolicies",
        message="in a governed namespace only the operator makes, changes and deletes network policies",
        requests=(
            Requests("networking.k8s.io", "v1", ("networkpolicies",), every),
            Requests("cilium.io", "v2", ("ciliumnetworkpolicies",), every),
            Requests("crd.projectcalico.org", "v1", ("networkpolicies",), every),
            Requests("projectcalico.org", "v3", ("networkpolicies",), every),
        ),
        variables=variables,
        when={"more-than-finalizers-have-changed": f"request.operation != 'UPDATE' || !({unchanged})"},
    )


def _made() -> str:
    reason = f"{quoted('variables.shown')} + ' may not have it made'"
    return when("request.operation == 'CREATE' && !(variables.mayCreate)", told(EnclosureRuleId.FOREIGN_WORKLOAD, "variables.what", reason))


def _altered() -> str:
    reason = f"{quoted('variables.shown')} + ' may not change its ' + variables.changed.join(', ')"
    condition = "variables.what != 'pods/ephemeralcontainers' && variables.changed.size() > 0 && !(variables.mayChange)"
    return when(condition, told(EnclosureRuleId.FOREIGN_WORKLOAD, "variables.what", reason))


def _reported() -> str:
    """What a pod found is read from its status, and network plugins and runtimes go by its annotations."""
    status = f"variables.subresource == 'status' && {differs('?status')}"
    annotations = f"request.resource.resource == 'pods' && {differs('metadata.?annotations')}"
    condition = f"request.operation == 'UPDATE' && !variables.isOperator && (({status}) || ({annotations}))"
    reason = quoted("variables.shown", after=" may not say how it is, nor annotate it, as he may not do that in every namespace")
    return when(condition, told(EnclosureRuleId.FOREIGN_WORKLOAD, "variables.what", reason))
