"""What clients do wrong is told them in OpenAI's shape, and harms nobody."""

from typing import Any

import pytest

from tests.process.server.conftest import Server

ASK: Any = {"model": "base", "prompt": "hello", "max_tokens": 2}


def test_prompt_and_answer_must_fit_the_model(server: Server) -> None:
    for fields, param in (({"prompt": [5] * 1024}, "input_tokens"), ({"prompt": [5] * 1000, "max_tokens": 25}, "max_tokens")):
        reply = server.ask("/v1/completions", {**ASK, **fields})
        assert (reply.status, reply.error["param"]) == (400, param)
        assert "maximum context length is 1024" in reply.error["message"]
    assert server.ask("/v1/completions", {**ASK, "prompt": [5] * 1000, "max_tokens": 24, "ignore_eos": True}).status == 200


@pytest.mark.parametrize(
    ("fields", "param"),
    [({"n": 2}, "n"), ({"prompt": [640]}, "prompt"), ({"prompt": [-1]}, "prompt"), ({"prompt": ""}, "prompt"), ({"echo": True}, "echo")],
)
def test_what_is_not_supported_is_named(server: Server, fields: Any, param: str) -> None:
    reply = server.ask("/v1/completions", {**ASK, **fields})
    assert (reply.status, reply.error["param"], reply.error["code"]) == (400, param, 400)


def test_a_body_that_is_too_large_is_refused_and_the_server_answers_on(server: Server) -> None:
    assert server.ask("/v1/completions", b'{"prompt": "' + b"x" * (11 << 20)).status == 413
    assert server.ask("/v1/completions", ASK).status == 200


def test_a_long_text_is_refused_by_its_tokens(server: Server) -> None:
    reply = server.ask("/v1/chat/completions", {"model": "base", "messages": [{"role": "user", "content": "router " * 9000}]})
    assert (reply.status, reply.error["param"]) == (400, "input_tokens")


def test_clients_cannot_load_adapters(server: Server) -> None:
    reply = server.ask("/v1/load_lora_adapter", {"lora_name": "a", "lora_path": "/tmp"})
    assert (reply.status, reply.error["type"]) == (404, "NotFoundError")


def test_a_path_or_method_that_does_not_exist_is_an_openai_error_too(server: Server) -> None:
    assert server.ask("/v1/embeddings", {}).error["code"] == 404
    assert server.ask("/v1/completions").error["code"] == 405


def test_a_name_cannot_be_given_new_weights(server: Server) -> None:
    body = {"lora_name": "lora", "lora_path": server.models()["lora"]["root"], "load_inplace": True}
    reply = server.ask("/v1/load_lora_adapter", body, admin=True)
    assert (reply.status, reply.error["param"]) == (400, "load_inplace")
    assert server.load("base", "/tmp").status == 400
