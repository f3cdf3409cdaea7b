"""Tables from files, and the last good one."""

import pytest

from finetune_inference.contract import Endpoint, Route, RouteTable
from finetune_inference.router.polling import held
from finetune_inference.router.sources import FileSource, LastGood, Rejected

VERSION = "a--aaaaaaaaaaaa"
TABLE = RouteTable(routes=[Route(deployment="dep", alias="a", generation=3, stable=VERSION, versions=[VERSION])])


async def test_a_source_gives_what_is_there_and_then_every_change(tmp_path):
    path = tmp_path / "table.json"
    updates = FileSource(path).updates()
    assert isinstance(await anext(updates), Rejected)
    path.write_text(TABLE.to_json())
    assert await anext(updates) == TABLE
    path.write_text(TABLE.to_json().replace('"generation":3', '"generation":0'))
    rejected = await anext(updates)
    assert isinstance(rejected, Rejected)
    assert "routes.0.generation" in rejected.message
    path.write_text("{")
    assert isinstance(await anext(updates), Rejected)
    path.write_text(TABLE.to_json())
    assert await anext(updates) == TABLE


def test_the_last_good_table_is_kept_and_found_again(tmp_path):
    assert LastGood(tmp_path).load() is None
    LastGood(tmp_path).keep(TABLE)
    assert LastGood(tmp_path).load() == TABLE


def test_a_broken_last_good_table_is_said_and_is_none(tmp_path, caplog):
    LastGood(tmp_path).keep(TABLE)
    (tmp_path / "last-good-table.json").write_text("{}}")
    assert LastGood(tmp_path).load() is None
    assert "not usable" in caplog.text


def test_a_folder_that_cannot_be_written_costs_a_warning(tmp_path, caplog):
    LastGood(tmp_path / "missing").keep(TABLE)
    assert "was not kept" in caplog.text


@pytest.mark.parametrize("url", ["https://pod:1", "http://pod:1/path", "http://pod 1", "file:///etc/passwd"])
def test_an_endpoint_is_an_address_without_a_path(url):
    with pytest.raises(ValueError, match="url"):
        Endpoint(deployment="dep", pod="p", url=url)


def test_a_version_is_held_when_its_root_has_the_digest():
    entries = [
        {"id": VERSION, "root": "/adapters/aaaaaaaaaaaa0000"},
        {"id": "a--bbbbbbbbbbbb", "root": "/adapters/aaaaaaaaaaaa0000"},
        {"id": "a--cccccccccccc"},
        {"id": "base", "root": "base"},
        {"id": 7, "root": []},
        "odd",
    ]
    assert held({"data": entries}) == (VERSION,)


@pytest.mark.parametrize("document", [None, [], {}, {"data": {}}, {"data": None}, "text"])
def test_what_is_no_model_list_is_refused(document):
    with pytest.raises(ValueError, match="model list"):
        held(document)
