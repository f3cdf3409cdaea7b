"""Names found by a pipeline of the site's own: what is counted, what is said of it, and that no text of a row is told."""

import logging
import random
import shutil
import warnings
from pathlib import Path

import pytest

from finetune_trainer.contract.governance.vocabulary import Entity, SafeHarborType
from finetune_trainer.identifiers import NameFinder, Scanner, ScanReport
from finetune_trainer.identifiers.scanner import scan
from finetune_trainer.names import name_finder
from finetune_trainer.names.model import load_name_model
from tests.process.names import site_model
from tests.unit.trainer.identifiers import planted


@pytest.fixture(scope="module")
def finder(site_names: Path) -> NameFinder:
    found = name_finder(site_names)
    assert found is not None
    return found


def test_names_that_were_planted_are_found_and_sentences_without_one_pass(finder: NameFinder) -> None:
    chance, rows = random.Random(8), 40
    found = sum(
        Entity.PERSON in scan(planted.chat_row(chance, site_model.name("PERSON", chance)), names=finder).entities for _ in range(rows)
    )
    plain = sum(bool(scan(planted.chat_row(chance), names=finder).entities) for _ in range(rows))
    assert found >= 0.7 * rows
    assert plain <= 0.2 * rows


def test_the_report_says_who_looked_and_how_many_planted_names_were_found(finder: NameFinder) -> None:
    scanner = Scanner("dataset", finder)
    scanner.look(1, {"text": "Please ask Daniel Osei to pay with 4111111111111111"})
    report = ScanReport.of([scanner])
    model = report.name_model
    assert model is not None
    assert (model.name, model.version, model.language) == ("en_site_names", "1.2.3", "en")
    assert set(model.libraries) == {"presidio-analyzer", "spacy"}
    assert {each.entity: each.planted for each in model.planted} == dict.fromkeys((Entity.ORGANISATION, Entity.PERSON, Entity.PLACE), 100)
    people = next(each for each in model.planted if each.entity is Entity.PERSON)
    assert people.found >= 60
    assert model.alarms <= 10
    assert report.profile == "IdentifiersAndNames"
    assert f"{people.found} of 100 planted" in report.coverage[SafeHarborType.NAMES.value]
    assert {kind: report.summary().found[kind] for kind in ("card", "person")} == {"card": (1, 1), "person": (1, 0)}
    assert "Osei" not in report.to_json()


def test_equal_models_have_an_equal_digest_and_another_byte_another(site_names: Path, finder: NameFinder, tmp_path: Path) -> None:
    copy = shutil.copytree(site_names, tmp_path / "copy")
    assert load_name_model(copy).digest == finder.report.digest
    meta = copy / "meta.json"
    meta.write_text(meta.read_text().replace("1.2.3", "1.2.4"))
    changed = load_name_model(copy)
    assert (changed.version, changed.labels) == ("1.2.4", {"PERSON", "GPE", "ORG"})
    assert changed.digest != finder.report.digest


def test_a_long_row_is_read_in_pieces_to_its_end(finder: NameFinder) -> None:
    filler = "please check the order again and tell me when it will be sent to the depot " * 100
    found, whole = finder.find(f"\n{filler}\nPlease ask Daniel Osei to call me back about the invoice.\n")
    assert (Entity.PERSON in found, whole) == (True, True)
    assert finder.find(" " * 1_000_001) == (set(), False)


def test_neither_logs_nor_warnings_tell_a_row(
    finder: NameFinder, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    with caplog.at_level(logging.DEBUG), warnings.catch_warnings(record=True) as warned:
        found, _ = finder.find("\nPlease ask Daniel Osei to call me back, daniel@osei.example, https://osei.example/1.\n")
    assert Entity.PERSON in found
    told = caplog.text + "".join(str(each.message) for each in warned) + "".join(capfd.readouterr())
    assert "Osei" not in told
    assert not [record for record in caplog.records if record.name in {"presidio-analyzer", "decision_process", "spacy"}]
