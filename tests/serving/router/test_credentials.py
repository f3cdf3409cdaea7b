"""Keys and tokens from files."""

import pytest

from finetune_inference.router import credentials
from finetune_inference.router.credentials import Unreadable, bearer, is_known, is_pin_token


def test_every_file_of_a_mounted_secret_is_a_key(tmp_path):
    (tmp_path / "alice").write_text("key-a\n")
    (tmp_path / "bob").write_text("key-b")
    (tmp_path / "..data").write_text("swap")
    (tmp_path / ".hidden").write_text("hidden")
    found = credentials.read(tmp_path, None, None)
    assert is_known("key-a", found)
    assert is_known("key-b", found)
    assert not any(is_known(key, found) for key in ("swap", "hidden", "key-", "", "key-a\n"))


def test_a_file_has_a_key_per_line(tmp_path):
    path = tmp_path / "keys"
    path.write_text("one\n\n two \n")
    found = credentials.read(path, None, None)
    assert [is_known(key, found) for key in ("one", "two", "")] == [True, True, False]


def test_an_empty_folder_lets_nobody_in(tmp_path):
    found = credentials.read(tmp_path, None, None)
    assert found.required
    assert not is_known("", found)


def test_an_empty_folder_may_stand_for_an_optional_secret_that_is_not_there(tmp_path):
    assert not credentials.read(tmp_path, None, None, keyless_admits=True).required
    (tmp_path / "alice").write_text("key-a")
    found = credentials.read(tmp_path, None, None, keyless_admits=True)
    assert found.required
    assert is_known("key-a", found)
    assert not is_known("", found)


def test_a_secret_that_is_being_swapped_lets_nobody_in_for_a_moment(tmp_path):
    (tmp_path / "alice").symlink_to(tmp_path / "..data" / "alice")
    assert credentials.read(tmp_path, None, None, keyless_admits=True).required


def test_a_key_without_text_and_a_file_without_lines_are_no_optional_secret(tmp_path):
    (tmp_path / "keys").write_text("")
    assert credentials.read(tmp_path / "keys", None, None, keyless_admits=True).required
    assert credentials.read(tmp_path, None, None, keyless_admits=True).required


def test_without_keys_nobody_needs_one():
    assert not credentials.read(None, None, None).required


def test_an_empty_token_file_is_no_token(tmp_path):
    (tmp_path / "token").write_text("\n")
    found = credentials.read(None, tmp_path / "token", None)
    assert not is_pin_token("", found)


def test_what_cannot_be_read_is_named_and_nothing_in_it(tmp_path):
    (tmp_path / "odd").write_bytes(b"secret\xff")
    with pytest.raises(Unreadable, match="odd") as error:
        credentials.read(None, tmp_path / "odd", None)
    assert "secret" not in str(error.value)
    with pytest.raises(Unreadable, match="missing"):
        credentials.read(tmp_path / "missing", None, None)


def test_keys_leave_as_digests_only(tmp_path):
    (tmp_path / "alice").write_text("key-a")
    (tmp_path / "token").write_text("pin-a")
    found = credentials.read(tmp_path, tmp_path / "token", None)
    assert b"key-a" not in found.line()
    assert b"pin-a" not in found.line()
    assert is_pin_token("pin-a", found)


@pytest.mark.parametrize(("header", "key"), [("Bearer k", "k"), ("bearer  k ", "k"), ("Basic k", ""), ("k", ""), ("", ""), ("Bearer", "")])
def test_a_key_comes_as_a_bearer(header, key):
    assert bearer(header) == key


def test_an_engine_key_that_nobody_has_made_is_none_and_one_whose_folder_is_missing_is_a_mistake(tmp_path):
    assert credentials.read(None, None, tmp_path / "key").engine_key is None
    (tmp_path / "key").write_text("of the engine\n")
    assert credentials.read(None, None, tmp_path / "key").engine_key == "of the engine"
    with pytest.raises(Unreadable, match="nowhere"):
        credentials.read(None, None, tmp_path / "nowhere" / "key")
