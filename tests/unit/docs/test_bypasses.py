"""Each way round that the page lists is tried by tests that exist, and each rule that it names is one."""

import re
from pathlib import Path

from finetune_operator.api.reasons import Reason
from finetune_trainer.contract.governance import RuleId
from finetune_trainer.contract.governance.enclosure import EnclosureRuleId

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs/governance/bypasses.md").read_text(encoding="utf-8")
ROWS = [line.split(" | ") for line in PAGE.splitlines() if line.startswith("| ") and not line.startswith("| Way round")]


def test_every_test_that_is_named_is_there() -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", PAGE)
    assert len(named) > 40
    for file, test in named:
        assert f"def {test}(" in (ROOT / file).read_text(encoding="utf-8"), f"{file}::{test}"


def test_every_row_names_a_test_and_every_rule_is_one() -> None:
    assert len(ROWS) > 30
    known = {*map(str, RuleId), *map(str, EnclosureRuleId), *map(str, Reason)}
    for way, stopped, tried in ROWS:
        assert "::test_" in tried, way
        assert set(re.findall(r"`([A-Z]\w+)`", stopped)) <= known, stopped


def test_every_rule_of_the_api_server_stops_some_way_round() -> None:
    told = set(re.findall(r"`([A-Z]\w+)`", "".join(stopped for _, stopped, _ in ROWS)))
    assert {str(rule) for rule in EnclosureRuleId} - told == {"DatasetMissing"}
