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


def _alone(word: str) -> str:
    """A word that no letter stands before; it is looked for by its first letter, which is faster than by what is before it."""
    return rf"{word}(?<![a-z]{word})"


def _labelled(entity: Entity, name: str, label: str, hints: tuple[str, ...], value: str = _VALUE) -> Recognizer:
    whole = pattern(label, _NUMBER, _BETWEEN, value)
    return Recognizer(entity, name, whole, "its name before it", needs=Needs.DIGIT, hints=hints, lower=True)


LABELLED: Final = (
    _labelled(
        Entity.MEDICAL_RECORD,
        "medical-record",
        rf"(?:{_alone('mrn')}|med(?:ical)?[ _\-]?rec(?:ord)?s?|patient{_COUNTED}|chart{_COUNTED})",
        ("mrn", "med", "patient", "chart"),
    ),
    _labelled(
        Entity.HEALTH_PLAN,
        "health-plan",
        rf"(?:member{_COUNTED}|subscriber{_COUNTED}|beneficiary{_COUNTED}|policy(?:[ _\-]?holder)?{_COUNTED}|insurance{_COUNTED}"
        rf"|medicaid{_COUNTED}|health[ _\-]?plan{_COUNTED}|medicare|{_alone('mbi')}(?![a-z]))",
        ("member", "subscriber", "beneficiary", "policy", "insurance", "medica", "health", "mbi"),
    ),
    _labelled(
        Entity.ACCOUNT,
        "account",
        rf"(?:account|{_alone('acct')}|routing){_COUNTED}",
        ("account", "acct", "routing"),
        r"[a-z]{0,4}+[ \-]?[0-9][0-9 \-]{4,24}+",
    ),
    _labelled(
        Entity.LICENCE,
        "licence",
        rf"(?:driv(?:er'?s?|ing)[ _\-]?licen[cs]e|passport|licen[cs]e{_COUNTED}|{_alone('dea')}{_COUNTED})",
        ("licen", "passport", "dea"),
    ),
    _labelled(
        Entity.DEVICE,
        "device-labelled",
        rf"(?:serial|device|{_alone('udi')}){_COUNTED}",
        ("serial", "device", "udi"),
    ),
    Recognizer(
        Entity.BIRTH_DATE,
        "birth-date",
        pattern(
            rf"(?:{_alone('d')}\.?o\.?b(?![a-z])|date[ _\-]?of[ _\-]?birth|birth[ _\-]?da(?:te|y)|{_alone('born')}(?![a-z]))",
            r"[^0-9\n]{0,24}+[0-9]{1,4}[-/., a-z]{1,12}+[0-9]{1,4}",
        ),
        "its name before it",
        needs=Needs.DIGIT,
        hints=("dob", "d.o.b", "birth", "born"),
        lower=True,
    ),
)
