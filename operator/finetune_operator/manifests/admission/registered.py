"""The policy for TrainingDatasets of governed namespaces: described in words of the site, and no more than the namespace is cleared for.

Levels are checked by the kind's definition. Who may classify is RBAC's to say: the right to create one. What was said once stays said:
data of which it could be taken back would be public again, and withdrawn data as good as new.
"""

from finetune_operator.api.base import GROUP, VERSION
from finetune_operator.api.crd import TRAININGDATASET
from finetune_operator.manifests.admission import classified
from finetune_operator.manifests.admission.cel import NOTHING, quoted, text, together, told, when
from finetune_operator.manifests.admission.enclave import ASKER
from finetune_operator.manifests.admission.namespaces import ADMINISTER
from finetune_operator.manifests.admission.policy import AdmissionPolicy, Requests, Validation
from finetune_trainer.contract.governance import RuleId
from finetune_trainer.contract.governance import vocabulary as words
from finetune_trainer.contract.governance.enclosure import EnclosureRuleId

_WITH_ITS_NAMESPACE = "has(namespaceObject.metadata.deletionTimestamp)"
"""Whoever asks then: a collector that follows an owner, whom anybody could add, is let pass at no other time."""


def trainingdatasets() -> AdmissionPolicy:
    """New ones are judged: nothing of that can be changed, and withdrawing must always be possible. Deleting is for platform admins."""
    residency = f"object.spec.?residency.orValue({text(words.ANY)})"
    place_unknown = f"must be {words.ANY} or a place that this site knows"
    unknown = _invalid("spec.regimes", quoted("r", after=" is no regime that this site knows"))
    clearance = f"variables.namespaceLabels[?{classified.CLEARANCE} + r].orValue('') != {text(words.YES)}"
    variables = {
        **classified.VOCABULARY,
        "namespaceLabels": classified.NAMESPACE["namespaceLabels"],
        "own": "object.spec.?regimes.orValue([])",
        "rank": "variables.levels.indexOf(object.spec.level)",
        "clearanceRank": classified.CLASSIFICATION["clearanceRank"],
        "uncleared": together((classified.LEVEL_UNCLEARED, f"variables.own.filter(r, {clearance}).map(r, 'regime ' + r)")),
        "subresource": ASKER["subresource"],
        "what": ASKER["what"],
        "said": together(
            (
                f"variables.own.filter(r, !(r in variables.regimes)).map(r, {unknown})",
                when(
                    f"!({residency} in [{text(words.ANY)}] + variables.places)",
                    _invalid("spec.residency", quoted(residency, after=f" {place_unknown}")),
                ),
                classified.over_clearance(RuleId.NAMESPACE_NOT_CLEARED, "namespace", ""),
            )
        ),
        "findings": f"request.operation == 'CREATE' ? variables.said : {NOTHING}",
        "unsaid": when(
            f"request.operation == 'DELETE' && !{_WITH_ITS_NAMESPACE}",
            told(EnclosureRuleId.GOVERNANCE_PROTECTED, "variables.what", text("may not be deleted by you")),
        ),
    }
    return AdmissionPolicy(
        name=TRAININGDATASET.plural,
        message="the dataset is refused by the rules of its governed namespace: regimes, residency, clearance or deletion",
        requests=(Requests(GROUP, VERSION, (TRAININGDATASET.plural,), ("CREATE", "DELETE")),),
        variables=variables,
        validations=(Validation("findings"), Validation("unsaid", unless=ADMINISTER)),
    )


def _invalid(field: str, reason: str) -> str:
    return told(RuleId.LABEL_INVALID, text(field), reason)
