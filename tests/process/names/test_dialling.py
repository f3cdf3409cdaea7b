"""Looking for names dials nobody, and what keeps Presidio from it is needed: without it somebody is tried."""

from pathlib import Path

import pytest

from tests.process.test_dialling_out import tried

SCANS = """
from pathlib import Path
from finetune_trainer.contract.governance.vocabulary import Entity
from finetune_trainer.identifiers.scanner import scan
from finetune_trainer.names import name_finder
text = "Please ask Daniel Osei, daniel@osei.example.co.uk, +44 20 7946 0958, to read https://www.osei.example.co.uk/letters at 10.1.2.3."
found = scan({"messages": [{"role": "user", "content": text}]}, names=name_finder(Path(FOLDER))).entities
assert {Entity.PERSON, Entity.EMAIL, Entity.URL} <= set(found), found
"""
LIGHT = """
import sys
sys.modules["torch"] = sys.modules["transformers"] = None  # Presidio imports them where they are, and does without
"""
MAIL = """
from presidio_analyzer.predefined_recognizers import EmailRecognizer
found = EmailRecognizer().analyze("write to daniel@osei.example.co.uk", ["EMAIL_ADDRESS"])
assert found, found
"""
SILENT = """
from finetune_trainer.names.finder import keep_silent
keep_silent()
"""
ABSENT = """
from presidio_analyzer.nlp_engine import SpacyNlpEngine
try:
    SpacyNlpEngine([{"lang_code": "en", "model_name": "en_core_web_sm"}]).load()
except SystemExit:
    pass
"""


@pytest.fixture
def cache(tmp_path: Path) -> dict[str, str]:
    """No list of suffixes that somebody fetched before."""
    return {"TLDEXTRACT_CACHE": str(tmp_path)}


def test_a_scan_with_names_mail_and_addresses_dials_nobody(site_names: Path, cache: dict[str, str]) -> None:
    assert tried(f"{LIGHT}\nFOLDER = {str(site_names)!r}\n{SCANS}", cache) is False


def test_presidios_mail_recognizer_fetches_a_list_unless_it_is_kept_silent(cache: dict[str, str]) -> None:
    assert tried(LIGHT + MAIL, cache) is True
    assert tried(LIGHT + SILENT + MAIL, cache) is False


def test_presidios_engine_downloads_a_pipeline_that_is_absent() -> None:
    """Which is why it is handed one that is there."""
    assert tried(LIGHT + ABSENT, {}) is True
