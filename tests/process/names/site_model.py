"""A pipeline as a site would bring it: trained here in seconds on names that are put together from syllables, never fetched.

Its sentences and names are others than those that the trainer plants to measure a model (`finetune_trainer.names.planted`).
"""

import random
import warnings
from pathlib import Path
from typing import Any

from tests.unit.trainer.identifiers.planted import _WORDS

GIVEN = "Anna,Peter,Maria,John,Fatima,Wei,Olga,Hans,Priya,Carlos,Ingrid,Ahmed,Sofia,Liam,Yuki,Pedro,Nadia,Tomas,Grace,Ivan"
FAMILY = "Miller,Garcia,Okafor,Schmidt,Tanaka,Ivanova,Rossi,Patel,Larsen,Kowalski,Haddad,Silva,Murphy,Novak,Dubois,Khan,Berg,Costa"
PLACES = "Springfield,Rotterdam,Leipzig,Nairobi,Porto,Kyoto,Denver,Lyon,Pune,Bergen,Gdansk,Quito,Tampere,Malaga,Boston,Cairo"
KINDS = "Bank,Hospital,Insurance,Ltd,School,University,Energy,Logistics,Clinic,Trust,Motors,Steel,Airways"
LEADS = {
    "PERSON": ["my name is", "please ask", "letter from", "regards,", "the patient", "Dr", "Mrs", "spoke to", "told"],
    "GPE": ["lives in", "sent to", "moved to", "near", "born in", "driving to", "delivered from"],
    "ORG": ["works at", "bought by", "invoice of", "customer of", "hired by", "transferred to"],
}
LAYERS = {"width": 48, "depth": 2, "embed_size": 1000, "window_size": 1, "maxout_pieces": 2, "subword_features": True}


def _one(names: str, chance: random.Random) -> str:
    return chance.choice(names.split(","))


def _made(chance: random.Random) -> str:
    return "".join(chance.choice("bcdfghjklmnprstvwz") + chance.choice("aeiou") for _ in range(chance.choice([2, 3]))).capitalize()


def name(kind: str, chance: random.Random) -> str:
    if kind == "PERSON":
        given = _one(GIVEN, chance) if chance.random() < 0.5 else _made(chance)
        return f"{given} {_one(FAMILY, chance) if chance.random() < 0.5 else _made(chance)}"
    if kind == "GPE":
        return _one(PLACES, chance) if chance.random() < 0.5 else _made(chance) + chance.choice(["ton", "burg", "ville", "stad"])
    return f"{_made(chance)} {_one(KINDS, chance)}"


def sentence(chance: random.Random) -> tuple[str, list[tuple[int, int, str]]]:
    """A sentence with a name in two of three, and where it stands."""
    before, after = (" ".join(chance.choices(_WORDS, k=chance.randint(1, 5))) for _ in range(2))
    kind = chance.choice([*LEADS, None])
    if kind is None:
        words = " ".join(chance.choices([*_WORDS, *(lead for leads in LEADS.values() for lead in leads)], k=30))
        return f"{before.capitalize()} {words}.", []
    item = name(kind, chance)
    start = "" if chance.random() < 0.15 else f"{before.capitalize()} {chance.choice(LEADS[kind])} "
    return f"{start}{item} {after}.", [(len(start), len(start) + len(item), kind)]


def write(folder: Path, *, examples: int = 500, rounds: int = 3, seed: int = 3) -> Path:
    """Train a small pipeline and write it as ``nlp.to_disk`` does."""
    import spacy
    from spacy.training import Example
    from spacy.util import fix_random_seed, minibatch

    chance = random.Random(seed)
    fix_random_seed(seed)
    nlp = spacy.blank("en")
    encoder: dict[str, Any] = {"@architectures": "spacy.HashEmbedCNN.v2", "pretrained_vectors": None, **LAYERS}
    nlp.add_pipe("ner", config={"model": {"@architectures": "spacy.TransitionBasedParser.v2", "hidden_width": 32, "tok2vec": encoder}})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        learned = [
            Example.from_dict(nlp.make_doc(text), {"entities": names}) for text, names in (sentence(chance) for _ in range(examples))
        ]
        optimizer = nlp.initialize(lambda: learned)
        optimizer.learn_rate = 0.005
        for _ in range(rounds):
            chance.shuffle(learned)
            for batch in minibatch(learned, 16):
                nlp.update(batch, drop=0.1, sgd=optimizer)
    nlp.meta["name"], nlp.meta["version"] = "site_names", "1.2.3"
    nlp.to_disk(folder)
    return folder
