"""The rules of governance that the API server enforces by itself, as manifests; the chart's copies are generated from here.

docs/adr/0015-the-api-server-judges-what-one-object-says.md
"""

from finetune_operator.manifests.admission.agreed import approvals, four_eyes
from finetune_operator.manifests.admission.documents import documents
from finetune_operator.manifests.admission.enclave import connections, networkpolicies, workloads
from finetune_operator.manifests.admission.engines import engines
from finetune_operator.manifests.admission.filled import FillingPolicy, approvers, submitters
from finetune_operator.manifests.admission.namespaces import matched, namespaces
from finetune_operator.manifests.admission.policy import AdmissionPolicy
from finetune_operator.manifests.admission.protected import definitions, facts, statuses
from finetune_operator.manifests.admission.registered import trainingdatasets
from finetune_operator.manifests.admission.subjects import adapterdeployments, finetunejobs

POLICIES: tuple[AdmissionPolicy, ...] = (
    finetunejobs(),
    adapterdeployments(),
    trainingdatasets(),
    approvals(),
    four_eyes(),
    workloads(),
    documents(),
    connections(),
    engines(),
    networkpolicies(),
    namespaces(),
    matched(),
    definitions(),
    facts(),
    statuses(),
)

FILLING: tuple[FillingPolicy, ...] = (submitters(), approvers())
"""For API servers that can change requests."""

__all__ = ["FILLING", "POLICIES", "AdmissionPolicy", "FillingPolicy"]
