"""The kinds this operator reads and writes, as paths of the API server."""

from dataclasses import dataclass

from finetune_operator.api.base import GROUP, VERSION


@dataclass(frozen=True)
class Resource:
    """A kind of object: ``group`` is empty for the core group."""

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, namespace: str | None = None, name: str | None = None, subresource: str | None = None) -> str:
        """The URL path; without a namespace that of the whole cluster."""
        parts = ["apis", self.group, self.version] if self.group else ["api", self.version]
        if self.namespaced and namespace:
            parts += ["namespaces", namespace]
        parts.append(self.plural)
        parts += [part for part in (name, subresource) if part]
        return "/" + "/".join(parts)


FINETUNE_JOBS = Resource(GROUP, VERSION, "finetunejobs", "FineTuneJob")
ADAPTER_DEPLOYMENTS = Resource(GROUP, VERSION, "adapterdeployments", "AdapterDeployment")
TRAINING_DATASETS = Resource(GROUP, VERSION, "trainingdatasets", "TrainingDataset")
GOVERNANCE_POLICIES = Resource(GROUP, VERSION, "governancepolicies", "GovernancePolicy", namespaced=False)
GOVERNANCE_FACTS = Resource(GROUP, VERSION, "governancefacts", "GovernanceFacts")
APPROVALS = Resource(GROUP, VERSION, "approvals", "Approval")
NAMESPACES = Resource("", "v1", "namespaces", "Namespace", namespaced=False)
NODES = Resource("", "v1", "nodes", "Node", namespaced=False)
JOBS = Resource("batch", "v1", "jobs", "Job")
PODS = Resource("", "v1", "pods", "Pod")
CONFIG_MAPS = Resource("", "v1", "configmaps", "ConfigMap")
SECRETS = Resource("", "v1", "secrets", "Secret")
CORE_EVENTS = Resource("", "v1", "events", "Event")
EVENTS = Resource("events.k8s.io", "v1", "events", "Event")
LEASES = Resource("coordination.k8s.io", "v1", "leases", "Lease")
ACCESS_REVIEWS = Resource("authorization.k8s.io", "v1", "selfsubjectaccessreviews", "SelfSubjectAccessReview", namespaced=False)
CUSTOM_RESOURCE_DEFINITIONS = Resource(
    "apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition", namespaced=False
)

DEPLOYMENTS = Resource("apps", "v1", "deployments", "Deployment")
SERVICES = Resource("", "v1", "services", "Service")
SERVICE_ACCOUNTS = Resource("", "v1", "serviceaccounts", "ServiceAccount")
ROLES = Resource("rbac.authorization.k8s.io", "v1", "roles", "Role")
ROLE_BINDINGS = Resource("rbac.authorization.k8s.io", "v1", "rolebindings", "RoleBinding")
NETWORK_POLICIES = Resource("networking.k8s.io", "v1", "networkpolicies", "NetworkPolicy")
CHILD_RESOURCES = {resource.kind: resource for resource in (JOBS, CONFIG_MAPS, NETWORK_POLICIES)}
"""What a plan may create, apply or delete, by kind."""
DISRUPTION_BUDGETS = Resource("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget")

HTTP_ROUTES = Resource("gateway.networking.k8s.io", "v1", "httproutes", "HTTPRoute")
"""A kind of the Gateway API, which a cluster may have or not."""

SERVING_RESOURCES = {
    resource.kind: resource
    for resource in (DEPLOYMENTS, SERVICES, SERVICE_ACCOUNTS, ROLES, ROLE_BINDINGS, NETWORK_POLICIES, DISRUPTION_BUDGETS)
}
"""What serving is made of and the operator applies, by kind."""
