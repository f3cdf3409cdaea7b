"""The finder itself: Presidio's analyzer with one recognizer, that of the site's pipeline.

Presidio by itself dials out twice: it downloads a pipeline that it does not find, and its recognizer of mail addresses has the public
suffix list fetched at the first hit. Here the pipeline is handed to it loaded, and none of its recognizers of patterns is made, since ours
need no network; what its mail recognizer would use is set to the list that comes with the package all the same. Its log tells decisions,
and warnings of its libraries quote texts: both are off.
"""

import logging
import re
import warnings
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Final

import tldextract.tldextract
from presidio_analyzer import AnalyzerEngine, RecognizerRegistry
from presidio_analyzer.nlp_engine import NerModelConfiguration, SpacyNlpEngine
from presidio_analyzer.predefined_recognizers import SpacyRecognizer

from finetune_trainer.contract.governance.vocabulary import Entity
from finetune_trainer.identifiers.names import NameModelReport, PlantedNames
from finetune_trainer.names.model import NameModel, load_name_model
from finetune_trainer.names.planted import PLAIN, planted

MAX_CHARACTERS: Final = 1_000_000
"""Of one row; what goes beyond is not read for names, and the row counts as not scanned whole."""
PIECE: Final = 5_000
"""Characters that are looked at together: what the pipeline holds in memory grows with them."""
_LONGEST_WORD: Final = re.compile(r"(\S{100})")
_KINDS: Final = {"PERSON": Entity.PERSON, "LOCATION": Entity.PLACE, "ORGANIZATION": Entity.ORGANISATION}
"""By what Presidio calls them."""


class _Loaded(SpacyNlpEngine):  # type: ignore[misc]
    """Presidio's engine over a pipeline that is there: it has nothing left to load or to download."""

    def __init__(self, model: NameModel, labels: NerModelConfiguration) -> None:
        super().__init__(models=[{"lang_code": model.language, "model_name": model.name}], ner_model_configuration=labels)
        self.nlp = {model.language: model.pipeline}


class PresidioNames:
    """See `finetune_trainer.identifiers.names.NameFinder`."""

    def __init__(self, model: NameModel) -> None:
        known = dict(NerModelConfiguration().model_to_presidio_entity_mapping)
        labels = NerModelConfiguration(labels_to_ignore=sorted(label for label in model.labels if known.get(label) not in _KINDS))
        self._language = model.language
        self._pipeline = model.pipeline
        self._looked_for = {_KINDS[known[label]] for label in model.labels if known.get(label) in _KINDS}
        recognizer = SpacyRecognizer(supported_language=model.language, supported_entities=list(_KINDS))
        registry = RecognizerRegistry(recognizers=[recognizer], supported_languages=[model.language])
        self._engine = AnalyzerEngine(registry=registry, nlp_engine=_Loaded(model, labels), supported_languages=[model.language])
        self.report = self._measured(model)

    def find(self, text: str) -> tuple[set[Entity], bool]:
        """The kinds of names in a row's text; no piece is looked at once all kinds are found."""
        found: set[Entity] = set()
        for piece in _pieces(text[:MAX_CHARACTERS]):
            found.update(kind for kind, _, _ in self._spans(piece))
            if len(found) == len(self._looked_for):
                break
        return found, len(text) <= MAX_CHARACTERS

    def _spans(self, text: str) -> list[tuple[Entity, int, int]]:
        with self._pipeline.memory_zone():  # else every word that is ever read stays in memory
            results = self._engine.analyze(text, language=self._language, entities=list(_KINDS))
            return [(_KINDS[each.entity_type], each.start, each.end) for each in results]

    def _measured(self, model: NameModel) -> NameModelReport:
        measured = []
        for kind in sorted(self._looked_for):
            sentences = planted(kind)
            found = sum(self._hits(kind, text, start, end) for text, start, end in sentences)
            measured.append(PlantedNames(entity=kind, planted=len(sentences), found=found))
        return NameModelReport(
            name=model.name,
            version=model.version,
            digest=model.digest,
            language=model.language,
            libraries={package: version(package) for package in ("presidio-analyzer", "spacy")},
            left_out=list(model.left_out),
            planted=measured,
            plain=len(PLAIN),
            alarms=sum(bool(self._spans(text)) for text in PLAIN),
        )

    def _hits(self, kind: Entity, text: str, start: int, end: int) -> bool:
        """Whether a name of this kind is seen where it is."""
        return any(found is kind and first < end and start < last for found, first, last in self._spans(text))


def open_finder(folder: Path) -> PresidioNames:
    """The finder over the pipeline of this folder; raises ``ConfigurationError``."""
    keep_silent()
    return PresidioNames(load_name_model(folder))


def keep_silent() -> None:
    """No list is fetched, no decision logged, no warning with a piece of text in it shown."""
    tldextract.tldextract.TLD_EXTRACTOR.suffix_list_urls = ()
    for name in ("presidio-analyzer", "decision_process", "spacy", "tldextract"):
        logging.getLogger(name).disabled = True
    for package in ("presidio_analyzer", "spacy", "thinc"):
        warnings.filterwarnings("ignore", module=rf"{package}(\.|$)")


def _pieces(text: str) -> Iterator[str]:
    """Pieces of bounded length, cut at line ends or spaces; no word is longer than 100 characters, in which the tokenizer is not linear."""
    text = _LONGEST_WORD.sub(r"\1 ", text)
    while len(text) > PIECE:
        cut = max(text.rfind("\n", PIECE // 2, PIECE), text.rfind(" ", PIECE // 2, PIECE)) + 1
        yield text[:cut]
        text = text[cut:]
    yield text
