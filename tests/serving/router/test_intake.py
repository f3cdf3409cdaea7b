"""Requests: what is wrong is said, and what is forwarded has one model name."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune_inference.router.intake import USER_LIMIT, parse
from finetune_inference.router.refusals import Refused

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=5), inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=8), JSON, max_size=5))
def test_all_but_the_model_is_forwarded_as_it_came(document):
    asked = parse(json.dumps({**document, "model": "a"}).encode())
    assert json.loads(asked.body_for("a--v")) == {**document, "model": "a--v"}


def test_a_second_model_key_reaches_nobody():
    body = parse(b'{"model":"a","model":"b","mod\\u0065l":"base"}').body_for("b--v")
    assert json.loads(body, object_pairs_hook=list) == [["model", "b--v"]] or json.loads(body) == {"model": "b--v"}
    assert body.count(b"model") == 1


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "invalid_json"),
        (b"{", "invalid_json"),
        (b"[]", "invalid_json"),
        (b'"model"', "invalid_json"),
        (b"\xff\xfe", "invalid_json"),
        (b'{"model": NaN}', "invalid_json"),
        (b"[" * 100_000, "invalid_json"),
        (b"{}", "model_missing"),
        (b'{"model": ""}', "model_missing"),
        (b'{"model": ["a"]}', "model_missing"),
    ],
)
def test_what_is_no_request_is_refused(body, code):
    with pytest.raises(Refused) as refused:
        parse(body)
    assert (refused.value.status, refused.value.code) == (400, code)


def test_a_user_is_a_bounded_text():
    assert parse(b'{"model":"a","user":7}').user == ""
    assert parse(json.dumps({"model": "a", "user": "u" * 10_000}).encode()).user == "u" * USER_LIMIT
