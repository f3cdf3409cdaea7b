"""What the pages point at is there: tests that they name as evidence, other pages, headings."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from finetune_trainer.contract.governance import RuleId

ROOT = Path(__file__).parents[3]
PAGES = sorted(path.relative_to(ROOT).as_posix() for path in [ROOT / "README.md", *ROOT.glob("docs/**/*.md"), *ROOT.glob("*/*/README.md")])
PAINS = (ROOT / "docs/serving/pains.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| (\d+) \| (.*) \| (.*) \| (.*) \|$", PAINS, re.MULTILINE)


@cache
def names_in(path: str) -> frozenset[str]:
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    return frozenset(node.name for node in tree.body if isinstance(node, functions) and node.name.startswith("test_"))


@cache
def anchors(path: Path) -> frozenset[str]:
    headings = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return frozenset(re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings)


def test_each_of_fifteen_pains_has_its_evidence() -> None:
    assert [int(number) for number, *_ in ROWS] == list(range(1, 16))
    for number, pain, here, shown in ROWS:
        assert re.search(r"[\w-]+/[\w-]+#\d+", pain), f"{number}: who has it?"
        assert here
        named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", shown)
        assert named, f"{number}: what shows it?"
        for path, name in named:
            assert (ROOT / path).is_file(), f"{number}: {path}"
            assert name in names_in(path), f"{number}: {path} has no {name}"


def test_each_of_twenty_one_rows_of_the_decision_table_has_its_evidence() -> None:
    """Both ways round, or it says that it is open; and every rule is in some row."""
    text = (ROOT / "docs/governance/decision-table.md").read_text(encoding="utf-8")
    rows = [line.strip("|").split("|") for line in text.splitlines() if line.startswith("|")][2:]
    numbers = [int(number) for number, *_ in rows if number.strip()]
    assert numbers == list(range(1, 22))
    for _, _, _, where, *shown in rows:
        assert where.strip() in {"API server", "operator", "pod", "real node", "decision"}
        assert len(shown) == 2
        for cell in shown:
            named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", cell)
            assert named or cell.strip().startswith("open: "), cell
            for path, name in named:
                assert name in names_in(path), f"{path} has no {name}"
    assert {rule.value for rule in RuleId} - set(re.findall(r"`(\w+)`", text)) == set()


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    prose = re.sub(r"```.*?```|`[^`\n]*`", "", text, flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", prose):
        if "://" in target:
            continue
        place, _, anchor = target.partition("#")
        found = (ROOT / page).parent / place if place else ROOT / page
        assert found.exists(), target
        assert not anchor or anchor in anchors(found), target
