"""Options, and the manual that says what the program does."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune_inference.cli.main import main
from finetune_inference.contract import RouteTable
from finetune_inference.router.options import Options

MANUAL = (Path(__file__).parents[3] / "docs" / "serving" / "router.md").read_text()


def test_its_table_is_one():
    (document,) = re.findall(r"```json\n(.*?)```", MANUAL, re.DOTALL)
    table = RouteTable.from_json(document)
    assert table.routes[0].weight == 25


@given(total=st.integers(0, 300), workers=st.integers(1, 64))
def test_workers_share_what_holds_for_all_of_them(total, workers):
    options = Options(table="t", state_dir="s", workers=workers)
    shares = [options.share(total, slot) for slot in range(workers)]
    assert sum(shares) == total
    assert max(shares) - min(shares) <= 1


def test_it_has_every_option():
    missing = [name for name in Options.model_fields if f"`--{name.replace('_', '-')}`" not in MANUAL]
    assert missing == []


def test_the_program_explains_every_option(capsys):
    with pytest.raises(SystemExit):
        main(["route", "--help"])
    shown = capsys.readouterr().out
    assert all(f"--{name.replace('_', '-')}" in shown for name in Options.model_fields)
