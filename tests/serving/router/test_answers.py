"""How an answer ended, and what text it held."""

import json

from hypothesis import given
from hypothesis import strategies as st

from finetune_inference.router.answers import TAIL, Ending, body_ending, stream_ending, texts


def sse(*documents: object) -> bytes:
    return b"".join(b"data: " + (d.encode() if isinstance(d, str) else json.dumps(d).encode()) + b"\n\n" for d in documents)


def delta(text: str, finish: str | None = None, index: int = 0) -> dict[str, object]:
    return {"choices": [{"index": index, "delta": {"content": text}, "finish_reason": finish}]}


def test_the_last_events_hold_reason_usage_and_end():
    usage = {"choices": [], "usage": {"completion_tokens": 7}}
    assert stream_ending(sse(delta("a"), delta("", "stop"), usage, "[DONE]")) == Ending("stop", 7, done=True)


def test_a_stream_without_the_end_mark_is_not_done():
    assert not stream_ending(sse(delta("a"), delta("", "stop"))).done


def test_an_error_inside_a_stream_is_seen():
    assert stream_ending(sse(delta("a"), {"error": {"message": "out of blocks"}}, "[DONE]")).failed


def test_a_first_event_that_is_cut_off_does_not_matter():
    tail = sse(delta("x" * TAIL), delta("", "length"), "[DONE]")[-TAIL:]
    assert stream_ending(tail) == Ending("length", None, done=True)


def test_unknown_reasons_become_one():
    assert body_ending({"choices": [{"finish_reason": "abracadabra"}]}).reason == "other"


@given(st.binary(max_size=200))
def test_no_bytes_of_an_engine_are_too_odd(data):
    stream_ending(b"data: " + data)
    texts(data, streamed=True)
    texts(data, streamed=False)


@given(
    st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=5), lambda inner: st.lists(inner, max_size=3), max_leaves=5)
)
def test_no_json_of_an_engine_is_too_odd(value):
    for document in (
        {"choices": value},
        {"choices": [{"delta": value, "index": value}]},
        {"usage": value},
        {"usage": {"completion_tokens": value}},
    ):
        body_ending(document)
        texts(json.dumps(document).encode(), streamed=False)


def test_the_text_of_a_stream_is_put_together_by_choice():
    stream = sse(delta("a"), delta("x", index=1), delta("b"), delta("", "stop"), delta("y", "stop", index=1), "[DONE]")
    assert texts(stream, streamed=True) == ["ab", "xy"]


def test_completions_have_text():
    assert texts(json.dumps({"choices": [{"index": 0, "text": "t", "finish_reason": "stop"}]}).encode(), streamed=False) == ["t"]


def test_an_answer_cut_at_a_limit_is_what_the_caller_got_of_it():
    assert texts(sse(delta('{"a":'), delta("", "length"), "[DONE]"), streamed=True) == ['{"a":']


def test_a_call_of_a_tool_has_nothing_to_check():
    assert texts(sse(delta("I look it up"), delta("", "tool_calls"), "[DONE]"), streamed=True) == []
