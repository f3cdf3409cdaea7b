"""The policy for ConfigMaps that tell pods of ours what to do: a run's spec, the table of a router, what an agent is to load."""

from finetune_operator.api.base import FIELD_MANAGER, GROUP, LABEL_MANAGED_BY
from finetune_operator.manifests.admission.cel import differs, quoted, text, told, when
from finetune_operator.manifests.admission.enclave import ASKER, CHANGERS, COLLECTORS
from finetune_operator.manifests.admission.policy import AdmissionPolicy, Requests, Variables
from finetune_trainer.contract.governance.enclosure import EnclosureRuleId

_MAY = {
    "CREATE": "variables.isOperator",
    "UPDATE": f"variables.isOperator || variables.asker in {CHANGERS}",
    "DELETE": f"variables.isOperator || variables.asker in {COLLECTORS}",
}
_DONE = "{'CREATE': 'made', 'UPDATE': 'changed', 'DELETE': 'deleted'}[request.operation]"


def documents() -> AdmissionPolicy:
    """The operator takes one that is there already for its own if the job owns it, so that nobody else may make one."""
    refused = " || ".join(f"(request.operation == {text(operation)} && !({allowed}))" for operation, allowed in _MAY.items())
    reason = f"{quoted('variables.shown')} + ' may not have it ' + {_DONE}"
    variables: Variables = {
        **ASKER,
        "isOperator": "variables.asker in variables.operators",
        "findings": when(refused, told(EnclosureRuleId.FOREIGN_WORKLOAD, "variables.what", reason)),
    }
    parts = ("?data", "?binaryData", "?immutable", "metadata.?labels", "metadata.?ownerReferences")
    now, before = f"request.operation != 'DELETE' && {_ours('object')}", f"request.operation != 'CREATE' && {_ours('oldObject')}"
    return AdmissionPolicy(
        name="documents",
        message="in a governed namespace only the operator makes, changes and deletes the ConfigMaps that its pods read",
        requests=(Requests("", "v1", ("configmaps",), tuple(_MAY)),),
        variables=variables,
        when={
            "it-is-ours": f"({now}) || ({before})",
            "more-than-finalizers-have-changed": f"request.operation != 'UPDATE' || {' || '.join(map(differs, parts))}",
        },
    )


def _ours(which: str) -> str:
    """Whether it says that it is the operator's, or that it belongs to an object of ours."""
    managed = f"{which}.metadata.?labels[?{text(LABEL_MANAGED_BY)}].orValue('') == {text(FIELD_MANAGER)}"
    owner = f"o.?controller.orValue(false) && o.apiVersion.startsWith({text(GROUP + '/')})"
    return f"({managed} || {which}.metadata.?ownerReferences.orValue([]).exists(o, {owner}))"
