"""What the profile can see and what it cannot, in words that go into every report: a scan is evidence against data and never for them."""

from typing import Final

from finetune_trainer.contract.governance.vocabulary import SafeHarborType
from finetune_trainer.identifiers.names import NameModelReport

UNSEEN: Final = {
    SafeHarborType.NAMES: "not looked for: no pattern tells a name from another word",
    SafeHarborType.GEOGRAPHY: "not looked for: streets, towns and postal codes in free text",
    SafeHarborType.BIOMETRIC: "not looked for: finger and voice prints are no text",
    SafeHarborType.PHOTO: "not looked for: pictures are not opened",
}
PARTLY_SEEN: Final = {
    SafeHarborType.DATES: "days that are written in full; not a month and year alone, ages above 89, or days in other languages",
    SafeHarborType.PHONE: "with +, in American or British form, or behind a word such as phone; not bare digits",
    SafeHarborType.FAX: "as telephone numbers",
    SafeHarborType.MEDICAL_RECORD: "behind a name such as MRN or patient id",
    SafeHarborType.HEALTH_PLAN: "NHS numbers, and numbers behind a name such as member id",
    SafeHarborType.ACCOUNT: "cards and IBANs; others behind a name such as account number",
    SafeHarborType.LICENCE: "NPIs in rows that name them, and numbers behind a name such as passport",
    SafeHarborType.VEHICLE: "VINs with the check digit of North America; not licence plates",
    SafeHarborType.DEVICE: "MAC addresses, IMEIs and serial numbers behind their names",
    SafeHarborType.OTHER: "Aadhaar numbers only: other national numbers are not known",
}
STATEMENT: Final = (
    "Found is what has a form. A row in which nothing was found may still name a person, a place, an illness or a rare event; rows that "
    "are harmless one by one may point at somebody together. Texts in pictures, archives and encodings such as Base64 are not read."
)


def coverage(names: NameModelReport | None = None) -> dict[str, str]:
    """Each of the eighteen types of Safe Harbor with what is seen of it; ``names`` is the model that looked for names, if one did."""
    told = {**UNSEEN, **PARTLY_SEEN, **(names.seen() if names is not None else {})}
    return {kind.value: told.get(kind, "looked for") for kind in SafeHarborType}
