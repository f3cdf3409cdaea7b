"""The policies for Namespaces themselves: who governs, clears and secures them, and by which labels demands find them.

The first looks at all of them, since any could become governed.
"""

from finetune_operator.api.base import API_VERSION, GROUP
from finetune_operator.api.crd import GOVERNANCEPOLICY
from finetune_operator.manifests.admission import classified
from finetune_operator.manifests.admission.cel import quoted, text, together, told, when
from finetune_operator.manifests.admission.policy import AdmissionPolicy, Params, Requests, Validation, Variables
from finetune_trainer.contract.governance import vocabulary as words
from finetune_trainer.contract.governance.enclosure import EnclosureRuleId

ADMINISTER = f"authorizer.group({text(GROUP)}).resource('governancepolicies').check('administer').allowed()"
"""Asked for the whole cluster, where no RoleBinding reaches: one for everything in a namespace lets that Namespace be labelled."""

_REQUESTS = (
    Requests("", "v1", ("namespaces",), ("CREATE", "UPDATE"), scope="Cluster"),
    Requests("", "v1", ("namespaces/status", "namespaces/finalize"), ("UPDATE",), scope="Cluster"),
)
_CHANGED: Variables = {
    **classified.LABELS,
    "changed": "variables.labels.filter(k, !(k in variables.labelsBefore) || variables.labels[k] != variables.labelsBefore[k]) + "
    "variables.labelsBefore.filter(k, !(k in variables.labels))",
}
_CLEARANCE = f'must name a regime that this site knows, and be "{words.YES}"'


def namespaces() -> AdmissionPolicy:
    governed, clearance, prefix = text(words.LABEL_GOVERNED), text(words.LABEL_CLEARANCE_LEVEL), text(words.CLEARANCE_LABELS)
    name = f"k.substring({len(words.CLEARANCE_LABELS)})"
    protected = told(
        EnclosureRuleId.NAMESPACE_LABEL_PROTECTED, "'metadata.labels[' + k + ']'", text("may not be set, changed or removed by you")
    )
    variables = {
        **classified.VOCABULARY,
        **_CHANGED,
        "governed": f"{governed} in variables.labels || {governed} in variables.labelsBefore",
        "protected": f"variables.changed.filter(k, k.startsWith({text(words.LABEL_PREFIX)}) || "
        f"(variables.governed && k.startsWith({text(words.POD_SECURITY_LABELS)}))).map(k, {protected})",
        "invalid": together(
            (
                *classified.words_only("variables.labels"),
                when(
                    f"variables.labels[?{governed}].orValue({text(words.YES)}) != {text(words.YES)}",
                    classified.invalid(governed, f"{classified.MUST_BE_YES} or absent"),
                ),
                when(
                    f"{clearance} in variables.labels && !(variables.labels[{clearance}] in variables.levels)",
                    classified.invalid(clearance, classified.MUST_BE_A_LEVEL),
                ),
                (
                    f"variables.labels.filter(k, k.startsWith({prefix}) && (!({name} in variables.regimes) || "
                    f"variables.labels[k] != {text(words.YES)})).map(k, {classified.invalid('k', _CLEARANCE)})"
                ),
            )
        ),
        "misspelt": f"variables.changed.exists(k, k.startsWith({text(words.LABEL_PREFIX)})) ? variables.invalid : []",
    }
    return AdmissionPolicy(
        name="namespaces",
        message="labels that govern, clear or secure a namespace are set by whoever may administer governancepolicies.finetune.dev",
        requests=_REQUESTS,
        variables=variables,
        validations=(Validation("protected", unless=ADMINISTER), Validation("misspelt")),
        governed_only=False,
    )


def matched() -> AdmissionPolicy:
    """Labels of any name by which some GovernancePolicy finds its namespaces: who could take one away would be rid of the policy."""
    keys = "params.spec.?match.?namespaceLabels.orValue({})"
    reason = quoted("params.metadata.name", before="policy ", after=" matches by it, so that it may not be set, changed or removed by you")
    finding = told(EnclosureRuleId.NAMESPACE_LABEL_PROTECTED, "'metadata.labels[' + k + ']'", reason)
    return AdmissionPolicy(
        name="matched-namespaces",
        message="labels by which policies match a governed namespace are set by whoever may administer governancepolicies.finetune.dev",
        requests=_REQUESTS,
        variables={**_CHANGED, "protected": f"variables.changed.filter(k, k in {keys}).map(k, {finding})"},
        validations=(Validation("protected", unless=ADMINISTER),),
        params=Params(API_VERSION, GOVERNANCEPOLICY.kind),
    )
