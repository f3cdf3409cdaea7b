"""Governance protects itself: its demands and the definitions of its kinds are for whoever may administer it, status is the operator's.

Admission policies judge no admission policies, so who may change those is RBAC's to say; docs/governance/admission.md.
"""

from finetune_operator.api.base import GROUP, VERSION
from finetune_operator.api.crd import ADAPTERDEPLOYMENT, FINETUNEJOB, GOVERNANCEFACTS, GOVERNANCEPOLICY, TRAININGDATASET
from finetune_operator.manifests.admission.cel import quoted, text, told, when
from finetune_operator.manifests.admission.enclave import ASKER, COLLECTORS
from finetune_operator.manifests.admission.namespaces import ADMINISTER
from finetune_operator.manifests.admission.policy import ITSELF, AdmissionPolicy, Requests, Validation
from finetune_trainer.contract.governance.enclosure import EnclosureRuleId

_EVERY = ("CREATE", "UPDATE", "DELETE")
_DONE = "{'CREATE': 'made', 'UPDATE': 'changed', 'DELETE': 'deleted'}[request.operation]"


def definitions() -> AdmissionPolicy:
    """Policies and definitions, both of the whole cluster."""
    name = "(request.operation == 'DELETE' ? oldObject.metadata.name : object.metadata.name)"
    ours = f"request.resource.resource == {text(GOVERNANCEPOLICY.plural)} || {name}.endsWith({text('.' + GROUP)})"
    variables = {"subresource": ASKER["subresource"], "what": ASKER["what"], "protected": when(ours, protected())}
    return AdmissionPolicy(
        name="definitions",
        message="policies of governance, and definitions of finetune.dev, are for whoever may administer governancepolicies.finetune.dev",
        requests=(
            Requests(GROUP, VERSION, (GOVERNANCEPOLICY.plural,), _EVERY, scope="Cluster"),
            Requests("apiextensions.k8s.io", "v1", ("customresourcedefinitions",), _EVERY, scope="Cluster"),
        ),
        variables=variables,
        validations=(Validation("protected", unless=ADMINISTER),),
        governed_only=False,
    )


def facts() -> AdmissionPolicy:
    """What the operator tells the API server, in every namespace: it may become a governed one."""
    may = f"variables.asker in {ITSELF} || (request.operation == 'DELETE' && variables.asker in {COLLECTORS})"
    variables = {
        "asker": ASKER["asker"],
        "subresource": ASKER["subresource"],
        "what": ASKER["what"],
        "protected": when(f"!({may})", protected()),
    }
    return AdmissionPolicy(
        name="facts",
        message="GovernanceFacts are written by the operator",
        requests=(Requests(GROUP, VERSION, (GOVERNANCEFACTS.plural,), _EVERY),),
        variables=variables,
        validations=(Validation("protected", unless=ADMINISTER),),
        governed_only=False,
    )


def statuses() -> AdmissionPolicy:
    """What was decided, approved and classified stands there; whoever could write it could make a classification fall."""
    parts = tuple(f"{kind.plural}/status" for kind in (FINETUNEJOB, ADAPTERDEPLOYMENT, TRAININGDATASET))
    finding = told(EnclosureRuleId.FOREIGN_STATUS, "variables.what", quoted("variables.shown", after=" may not write it"))
    variables = {
        "asker": ASKER["asker"],
        "shown": ASKER["shown"],
        "subresource": ASKER["subresource"],
        "what": ASKER["what"],
        "findings": when(f"!(variables.asker in {ITSELF})", finding),
    }
    return AdmissionPolicy(
        name="statuses",
        message="in a governed namespace only the operator writes status",
        requests=(Requests(GROUP, VERSION, parts, ("UPDATE",)),),
        variables=variables,
    )


def protected() -> str:
    """The finding; it reads the variable ``what``."""
    return told(EnclosureRuleId.GOVERNANCE_PROTECTED, "variables.what", f"'may not be ' + {_DONE} + ' by you'")
