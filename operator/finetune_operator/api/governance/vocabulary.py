"""Texts of governance with their bounds, as the contract's decision knows them, for the definitions of the three kinds."""

from typing import Annotated

from pydantic import Field

from finetune_operator.api.markers import Rule
from finetune_operator.api.scalars import LabelValue, ObjectName
from finetune_trainer.contract.governance.policy import Cidr, Host, LicenceTerm, NodeLabel, Place, Port, SourcePrefix
from finetune_trainer.contract.governance.vocabulary import LABEL_PREFIX, LabelWord

SUBMITTER_ANNOTATION = f"{LABEL_PREFIX}submitted-by"
"""On a FineTuneJob: who created it, by the API server's own name for them, which its admission policies compare."""

UserName = Annotated[str, Field(min_length=1, max_length=253)]

LABEL_KEYS = Rule(
    "!has(self.namespaceLabels) || self.namespaceLabels.all(k, size(k) <= 316 && k.matches('^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?"
    "[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$'))",
    "match.namespaceLabels holds label names with their values, such as finetune.dev/governed: 'true'",
    field_path=".namespaceLabels",
)
DATASET_FIELDS = ("uri", "format", "digest", "level", "regimes", "residency", "claimsSafeHarbor", "generatedBy", "purposes", "retainUntil")
"""What makes a TrainingDataset the version of data that it is: all of its spec but ``owner`` and ``withdrawn``."""
ONE_VERSION = Rule(
    " && ".join(
        f"has(self.{name}) == has(oldSelf.{name}) && (!has(self.{name}) || self.{name} == oldSelf.{name})" for name in DATASET_FIELDS
    ),
    "a TrainingDataset is one version of data and does not change: create another one for the changed data or classification",
    reason="FieldValueForbidden",
)
WITHDRAWN_FOR_GOOD = Rule(
    "!has(oldSelf.withdrawn) || (has(self.withdrawn) && self.withdrawn == oldSelf.withdrawn)",
    "data that were withdrawn stay withdrawn, for the reason given: register another version of them, in another place",
    reason="FieldValueForbidden",
    field_path=".withdrawn",
)
MASKED = Rule(
    "isCIDR(self.cidr) && cidr(self.cidr).masked() == cidr(self.cidr)",
    "cidr is an address range without bits behind its prefix, such as 10.0.0.0/24",
    field_path=".cidr",
)
CREATE_ONLY = Rule(
    "self == oldSelf",
    "an Approval is create-only: delete it to withdraw it, and create another one for another decision",
    reason="FieldValueForbidden",
)

__all__ = [
    "CREATE_ONLY",
    "DATASET_FIELDS",
    "LABEL_KEYS",
    "MASKED",
    "ONE_VERSION",
    "SUBMITTER_ANNOTATION",
    "WITHDRAWN_FOR_GOOD",
    "Cidr",
    "Host",
    "LabelValue",
    "LabelWord",
    "LicenceTerm",
    "NodeLabel",
    "ObjectName",
    "Place",
    "Port",
    "SourcePrefix",
    "UserName",
]
