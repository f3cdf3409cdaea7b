"""Requests: what is read, what is ignored as vLLM ignores it, and what is refused by name."""

import json
from typing import Any

import pytest

from finetune_inference.server.protocol.errors import RequestError
from finetune_inference.server.protocol.requests import UNSUPPORTED, parse_chat, parse_completion

MESSAGES = [{"role": "user", "content": "hello"}]


def chat(**fields: Any) -> Any:
    return parse_chat(json.dumps({"model": "m", "messages": MESSAGES, **fields}).encode())


def completion(**fields: Any) -> Any:
    return parse_completion(json.dumps({"model": "m", "prompt": "hello", **fields}).encode())


def refusal(**fields: Any) -> RequestError:
    with pytest.raises(RequestError) as caught:
        chat(**fields)
    return caught.value


@pytest.mark.parametrize(
    "fields",
    [
        {"user": "u", "metadata": {"a": "b"}, "store": False, "service_tier": "auto", "x_unknown": 1, "reasoning_effort": "low"},
        {"n": 1, "frequency_penalty": 0, "presence_penalty": 0.0, "logit_bias": {}, "response_format": {"type": "text"}},
        {"n": None, "tools": [], "tool_choice": "none", "parallel_tool_calls": True, "modalities": ["text"]},
    ],
)
def test_fields_that_change_nothing_here_are_ignored(fields: dict[str, Any]) -> None:
    assert chat(**fields).model == "m"


MEANT: dict[str, Any] = {
    "n": 2,
    "best_of": 3,
    "function_call": "route",
    "response_format": {"type": "json_object"},
    "logit_bias": {"5": 10},
    "frequency_penalty": 0.5,
    "presence_penalty": -1,
    "repetition_penalty": 1.2,
    "min_p": 0.1,
    "min_tokens": 4,
    "prompt_logprobs": 1,
    "modalities": ["audio"],
    "tools": [{"type": "function"}],
}


@pytest.mark.parametrize("name", sorted(UNSUPPORTED))
def test_a_field_that_would_change_the_answer_is_refused_by_name(name: str) -> None:
    error = refusal(**{name: MEANT.get(name, "something")})
    assert (error.status, error.param) == (400, name)
    assert error.message.startswith(f"{name}: ")
    assert error.body()["error"] == {"message": error.message, "type": "BadRequestError", "param": name, "code": 400}


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"temperature": -1}, "temperature"),
        ({"temperature": 2.5}, "temperature"),
        ({"top_p": 0}, "top_p"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_completion_tokens": -3}, "max_completion_tokens"),
        ({"messages": []}, "messages"),
        ({"messages": "hello"}, "messages"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]}, "messages"),
        ({"stop": ["a"] * 17}, "stop"),
        ({"stop": ""}, "stop"),
        ({"top_logprobs": 5}, "top_logprobs"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"tool_choice": {"type": "function"}}, "tool_choice"),
        ({"model": 5}, "model"),
        ({"add_generation_prompt": False}, "add_generation_prompt"),
    ],
)
def test_a_wrong_value_is_refused_with_the_field_that_is_wrong(fields: dict[str, Any], param: str) -> None:
    error = refusal(**fields)
    assert (error.status, error.param) == (400, param)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b'{"messages": []}', b"\xff\xfe"])
def test_a_body_that_is_no_request_is_refused(body: bytes) -> None:
    with pytest.raises(RequestError) as caught:
        parse_chat(body)
    assert caught.value.status == 400


def test_parts_of_text_become_one_text() -> None:
    message = chat(messages=[{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}]).messages[0]
    assert message.rendered() == {"role": "user", "content": "a\nb"}


def test_the_newer_name_of_the_token_limit_wins() -> None:
    assert chat(max_tokens=5, max_completion_tokens=7).asked_tokens == 7
    assert chat(max_tokens=5).asked_tokens == 5
    assert chat().asked_tokens is None
    assert completion().asked_tokens == 16


def test_likelihoods_are_asked_for_in_two_ways() -> None:
    assert chat().sampling.logprobs is None
    assert chat(logprobs=True).sampling.logprobs == 0
    assert chat(logprobs=True, top_logprobs=3).sampling.logprobs == 3
    assert completion(logprobs=4).sampling.logprobs == 4


@pytest.mark.parametrize(("prompt", "only"), [("a", "a"), (["a"], "a"), ([1, 2], [1, 2]), ([[1, 2]], [1, 2])])
def test_one_prompt_may_come_in_four_forms(prompt: Any, only: Any) -> None:
    assert completion(prompt=prompt).only_prompt == only


@pytest.mark.parametrize("prompt", [["a", "b"], [[1], [2]], []])
def test_several_prompts_or_none_are_refused(prompt: Any) -> None:
    with pytest.raises(RequestError) as caught:
        _ = completion(prompt=prompt).only_prompt
    assert caught.value.param == "prompt"
