"""The manual says what the program does."""

import re
from pathlib import Path

import pytest

from finetune_inference.cli.main import main
from finetune_inference.contract import RouteTable
from finetune_inference.router.options import Options

MANUAL = (Path(__file__).parents[3] / "docs" / "serving" / "router.md").read_text()


def test_its_table_is_one():
    (document,) = re.findall(r"```json\n(.*?)```", MANUAL, re.DOTALL)
    table = RouteTable.from_json(document)
    assert table.routes[0].weight == 25


def test_it_has_every_option():
    missing = [name for name in Options.model_fields if f"`--{name.replace('_', '-')}`" not in MANUAL]
    assert missing == []


def test_the_program_explains_every_option(capsys):
    with pytest.raises(SystemExit):
        main(["route", "--help"])
    shown = capsys.readouterr().out
    assert all(f"--{name.replace('_', '-')}" in shown for name in Options.model_fields)
