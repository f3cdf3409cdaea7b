"""Identifiers without arithmetic or form of their own: what is found is a name of theirs with something like a number behind it."""

from typing import Final

from finetune_trainer.contract.governance.vocabulary import Entity
from finetune_trainer.identifiers.recognizer import Needs, Recognizer, pattern

_NUMBER: Final = r"[ _.\-]?(?:numbers?|num|no|nr|id|#)?(?![a-z])"
_COUNTED: Final = r"(?=[ _.\-]?(?:numbers?|num|no|nr|id|#)(?![a-z]))"
"""For words that also stand in prose: only where a number is spoken of."""
_BETWEEN: Final = r"[^a-z0-9\n]{0,6}+(?:is[^a-z0-9\n]{1,4}+|was[^a-z0-9\n]{1,4}+)?"
_VALUE: Final = r"[a-z]{0,4}+[ \-]?[0-9][a-z0-9\-]{3,24}+"
"""Some letters, then a digit and at least three more characters."""


def _labelled(entity: Entity, name: str, label: str, hints: tuple[str, ...], value: str = _VALUE) -> Recognizer:
    whole = pattern(label, _NUMBER, _BETWEEN, value)
    return Recognizer(entity, name, whole, "its name before it", needs=Needs.DIGIT, hints=hints, lower=True)


LABELLED: Final = (
    _labelled(
        Entity.MEDICAL_RECORD,
        "medical-record",
        rf"(?:(?<![a-z])mrn|med(?:ical)?[ _\-]?rec(?:ord)?s?|(?:patient|chart){_COUNTED})",
        ("mrn", "med", "patient", "chart"),
    ),
    _labelled(
        Entity.HEALTH_PLAN,
        "health-plan",
        rf"(?:(?:member|subscriber|beneficiary|policy[ _\-]?holder|policy|insurance|medicaid|health[ _\-]?plan){_COUNTED}"
        r"|medicare|(?<![a-z])mbi(?![a-z]))",
        ("member", "subscriber", "beneficiary", "policy", "insurance", "medica", "health", "mbi"),
    ),
    _labelled(
        Entity.ACCOUNT,
        "account",
        rf"(?:account|(?<![a-z])acct|routing){_COUNTED}",
        ("account", "acct", "routing"),
        r"[a-z]{0,4}+[ \-]?[0-9][0-9 \-]{4,24}+",
    ),
    _labelled(
        Entity.LICENCE,
        "licence",
        rf"(?:driv(?:er'?s?|ing)[ _\-]?licen[cs]e|passport|(?:licen[cs]e|(?<![a-z])dea){_COUNTED})",
        ("licen", "passport", "dea"),
    ),
    _labelled(
        Entity.DEVICE,
        "device-labelled",
        rf"(?:serial|device|(?<![a-z])udi){_COUNTED}",
        ("serial", "device", "udi"),
    ),
    Recognizer(
        Entity.BIRTH_DATE,
        "birth-date",
        pattern(
            r"(?:(?<![a-z])d\.?o\.?b(?![a-z])|date[ _\-]?of[ _\-]?birth|birth[ _\-]?da(?:te|y)|(?<![a-z])born(?![a-z]))",
            r"[^0-9\n]{0,24}+[0-9]{1,4}[-/., a-z]{1,12}+[0-9]{1,4}",
        ),
        "its name before it",
        needs=Needs.DIGIT,
        hints=("dob", "d.o.b", "birth", "born"),
        lower=True,
    ),
)
