"""Names planted in English sentences, to find out how many of them a site's model sees; and sentences without any.

Few and plain, so that they cost a second: they tell a model that works from one that does not, and the share found goes into every report.
They are what we thought of, and no promise for other texts.
"""

from typing import Final

from finetune_trainer.contract.governance.vocabulary import Entity

_PEOPLE: Final = (
    "Margaret Hollis,Daniel Osei,Chiara Bianchi,Rajesh Kulkarni,Agnieszka Wrona,Thomas Brandt,Leila Farahani,Kenji Watanabe,Mariana Duarte,"
    "Eilidh Fraser,Samuel Adeyemi,Camille Laurent,Nguyen Thi Lan,Oleksandr Bondar,Fiona Gallagher,Hassan Mansour,Ingeborg Solberg,"
    "Robert Whitaker,Lucia Herrera,Jonas Eriksson"
)
_PLACES: Final = (
    "Bristol,Stuttgart,Mombasa,Nagoya,Toulouse,Gothenburg,Hyderabad,Valparaiso,Cleveland,Salzburg,Antwerp,Ljubljana,Wellington,Casablanca,"
    "Edmonton,Thessaloniki,Portland,Rosario,Cardiff,Kampala"
)
_ORGANISATIONS: Final = (
    "Northgate Insurance,Halden Bank,Meridian Foods Ltd,St. Brigid's Hospital,Orbis Logistics GmbH,Calloway University,"
    "Tessera Software Inc.,"
    "Brightwater Council,Kestrel Airways,Novalis Pharma AG,Ridgeway School,Alder & Finch LLP,Polaris Energy,Harbour Clinic,Vantage Motors,"
    "Sable Publishing,Quarry Hill Church,Linden Telecom,Ostrava Steel,Greenfield Trust"
)
_FRAMES: Final = {
    Entity.PERSON: (
        "Good morning, my name is {} and my parcel has not come.",
        "Please ask {} to call me back about the invoice.",
        "The patient, {}, was seen on the ward last week.",
        "{} wrote that the device stopped after a restart.",
        "We spoke to Mrs {} about the refund.",
    ),
    Entity.PLACE: (
        "I moved to {} last month, please change my address.",
        "The parcel was sent from {} and has not arrived.",
        "She lives in {} with her two children.",
        "There is no service near {} at the moment.",
        "Our train to {} was late again.",
    ),
    Entity.ORGANISATION: (
        "She works at {} as an accountant.",
        "The invoice of {} was paid twice.",
        "I have been a customer of {} for ten years.",
        "{} has sent us another letter about the contract.",
        "He was transferred to {} after the operation.",
    ),
}
_NAMES: Final = {Entity.PERSON: _PEOPLE, Entity.PLACE: _PLACES, Entity.ORGANISATION: _ORGANISATIONS}
PLAIN: Final = tuple(
    f"{start} {end}"
    for start in (
        "Hello, the display",
        "After the last update my printer",
        "The order",
        "Since yesterday the heating",
        "Thank you, but the second box",
        "Our old router",
        "The replacement",
        "Every morning the alarm",
        "The blue one",
        "My account page",
    )
    for end in (
        "shows nothing after a restart.",
        "still does not work as it should.",
        "is not what we asked for.",
        "was late again.",
        "makes a strange noise when I touch it.",
    )
)
"""Sentences in which no name stands."""


def planted(kind: Entity) -> list[tuple[str, int, int]]:
    """Sentences with one name of this kind each, with where it begins and ends."""
    sentences = []
    for frame in _FRAMES[kind]:
        for name in _NAMES[kind].split(","):
            start = frame.index("{}")
            sentences.append((frame.format(name), start, start + len(name)))
    return sentences
