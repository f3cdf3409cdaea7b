"""Answers have OpenAI's shapes, whole and in pieces."""

import json

from finetune_inference.server.protocol.replies import DONE, ChatForm, CompletionForm, Head, Usage, event
from finetune_inference.server.sampling import Likelihoods
from finetune_inference.server.sequence import TokenFacts

HEAD = Head("id-1", 1_700_000_000, "router")
WORDS = {1: "Hel", 2: "lo", 3: "é"}
FACTS = (TokenFacts(1, Likelihoods(-0.5, ((1, -0.5), (3, -2.0)))), TokenFacts(2, Likelihoods(-3.0, ((3, -0.1),))))


def test_an_event_is_one_data_line_and_a_blank_one() -> None:
    assert event({"a": "ü\n"}) == 'data: {"a":"ü\\n"}\n\n'.encode()
    assert DONE == b"data: [DONE]\n\n"


def test_a_whole_chat_answer() -> None:
    answer = ChatForm(HEAD).whole("Hello", (), "stop", Usage(7, 2))
    assert answer == {
        "id": "id-1",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": "router",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello"}, "logprobs": None, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9},
    }


def test_a_chat_stream_opens_with_the_role_and_ends_with_the_reason() -> None:
    form = ChatForm(HEAD)
    opening, middle, last = form.opening(), form.chunk("Hel", (), None, 0), form.chunk("", (), "length", 3)
    assert opening is not None
    assert opening["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert (middle["choices"][0]["delta"], middle["choices"][0]["finish_reason"]) == ({"content": "Hel"}, None)
    assert (last["choices"][0]["delta"], last["choices"][0]["finish_reason"]) == ({}, "length")
    assert {chunk["object"] for chunk in (opening, middle, last)} == {"chat.completion.chunk"}
    assert form.usage_chunk(Usage(1, 2))["choices"] == []


def test_chat_likelihoods_tell_each_token_with_its_alternatives() -> None:
    content = ChatForm(HEAD, WORDS.__getitem__).whole("Hello", FACTS, "stop", Usage(1, 2))["choices"][0]["logprobs"]["content"]
    assert [entry["token"] for entry in content] == ["Hel", "lo"]
    assert content[0]["top_logprobs"][1] == {"token": "é", "logprob": -2.0, "bytes": [195, 169]}


def test_completion_likelihoods_hold_the_chosen_token_and_offsets_into_the_text() -> None:
    form = CompletionForm(HEAD, WORDS.__getitem__)
    told = form.chunk("Hello", FACTS, None, 4)["choices"][0]["logprobs"]
    assert told == {
        "tokens": ["Hel", "lo"],
        "token_logprobs": [-0.5, -3.0],
        "top_logprobs": [{"Hel": -0.5, "é": -2.0}, {"lo": -3.0, "é": -0.1}],
        "text_offset": [4, 7],
    }


def test_a_likelihood_of_nothing_is_still_json() -> None:
    never = (TokenFacts(1, Likelihoods(float("-inf"), ((1, float("-inf")),))),)
    answer = ChatForm(HEAD, WORDS.__getitem__).whole("Hel", never, "stop", Usage(1, 1))
    completion = CompletionForm(HEAD, WORDS.__getitem__).whole("Hel", never, "stop", Usage(1, 1))
    assert completion["choices"][0]["logprobs"]["top_logprobs"] == [{"Hel": -9999.0}]
    assert json.loads(event(answer).removeprefix(b"data: "))["choices"][0]["logprobs"]["content"][0]["logprob"] == -9999.0
