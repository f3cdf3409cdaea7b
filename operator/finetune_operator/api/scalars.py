"""Small typed texts and numbers: decimals, quantities, names, counts. Each carries its bounds, so that the schema is bounded everywhere."""

from typing import Annotated

from pydantic import Field

from finetune_operator.api.base import IntegerAsText
from finetune_operator.api.markers import IntOrString, Rule

_DECIMAL = r"^[0-9]+(\.[0-9]+)?([eE]-?[0-9]{1,2})?$"
_NAME = "^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"

DecimalText = Annotated[str, Field(pattern=_DECIMAL, max_length=32)]
"""A decimal as quoted text, ``"2e-4"``: a spec holds no floats, because they do not survive every tool that rewrites YAML."""

PositiveDecimal = Annotated[
    str, Field(pattern=_DECIMAL, max_length=32), Rule("double(self) > 0.0 && double(self) <= 1000.0", "must be above 0 and at most 1000")
]
LearningRate = Annotated[
    str,
    Field(pattern=_DECIMAL, max_length=32),
    Rule("double(self) > 0.0 && double(self) < 1.0", 'learningRate must be above 0 and below 1, for example "2e-4" (quoted)'),
]
Fraction = Annotated[
    str, Field(pattern=_DECIMAL, max_length=32), Rule("double(self) >= 0.0 && double(self) < 1.0", "must be at least 0 and below 1")
]
Epochs = Annotated[
    str,
    Field(pattern=_DECIMAL, max_length=32),
    IntegerAsText,
    IntOrString(),
    Rule(
        "double(self) > 0.0 && double(self) <= 1000.0", "epochs must be above 0 and at most 1000; use maxSteps for a fixed number of steps"
    ),
]
Quantity = Annotated[
    str,
    Field(pattern=r"^([0-9]+|[0-9]*\.[0-9]+)(m|k|Ki|M|Mi|G|Gi|T|Ti|P|Pi|E|Ei|[eE][0-9]{1,2})?$", max_length=32),
    IntegerAsText,
    IntOrString(),
]
"""A Kubernetes quantity: ``4``, ``"500m"``, ``16Gi``."""

ContentDigest = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$", max_length=71)]
ObjectName = Annotated[str, Field(pattern=_NAME, min_length=1, max_length=253)]
LabelValue = Annotated[str, Field(pattern=r"^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$", max_length=63)]
HostName = Annotated[
    str,
    Field(pattern=r"^(\*\.)?[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$", min_length=1, max_length=253),
]
"""A DNS name whose first label may be ``*``."""
QualifiedName = Annotated[
    str, Field(pattern=r"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$", min_length=1, max_length=316)
]

SignedDecimal = Annotated[str, Field(pattern=r"^-?[0-9]+(\.[0-9]+)?([eE]-?[0-9]+)?$", max_length=32)]
"""A measured number as text."""

Count = Annotated[int, Field(ge=0)]
RunKey = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$", max_length=64)]
Uri = Annotated[str, Field(max_length=2048)]
ShortText = Annotated[str, Field(max_length=64)]
LabelText = Annotated[str, Field(max_length=63)]
"""A label's value as somebody wrote it, be it a word of the vocabulary or not."""
