"""What the agent, the router and the operator's client rely on in an engine, as cases that run against any server with vLLM's API.

Ours must pass them always. A real vLLM is checked by hand, see `tests/process/server/test_engine_contract.py`. A case asserts only what
both promise: statuses and shapes, not wordings.
"""

import json
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

PATIENCE = 120


@dataclass(frozen=True)
class Engine:
    """``url`` is for clients, ``admin_url`` loads adapters (one and the same for vLLM); ``adapter`` is a folder that fits ``model``."""

    url: str
    admin_url: str
    model: str
    adapter: str

    def get(self, path: str) -> tuple[int, Any]:
        return _send(urllib.request.Request(self.url + path))

    def post(self, path: str, body: Any) -> tuple[int, Any]:
        return _send(_request(self.url + path, body))

    def load(self, name: str, path: str) -> tuple[int, Any]:
        return _send(_request(f"{self.admin_url}/v1/load_lora_adapter", {"lora_name": name, "lora_path": path}))

    def unload(self, name: str) -> tuple[int, Any]:
        return _send(_request(f"{self.admin_url}/v1/unload_lora_adapter", {"lora_name": name}))

    def models(self) -> dict[str, Any]:
        status, body = self.get("/v1/models")
        assert (status, body["object"]) == (200, "list")
        return {model["id"]: model for model in body["data"]}


Case = Callable[[Engine], None]


def healthy(engine: Engine) -> None:
    assert engine.get("/health")[0] == 200


def an_adapter_is_loaded_listed_used_and_unloaded(engine: Engine) -> None:
    assert engine.load("contract", engine.adapter)[0] == 200
    card = engine.models()["contract"]
    assert (card["root"], card["parent"], card["object"]) == (engine.adapter, engine.model, "model")
    status, answer = engine.post("/v1/completions", {"model": "contract", "prompt": "hello", "max_tokens": 2})
    assert (status, answer["model"], answer["object"]) == (200, "contract", "text_completion")
    assert engine.unload("contract")[0] == 200
    assert "contract" not in engine.models()
    _error(engine.post("/v1/completions", {"model": "contract", "prompt": "hello", "max_tokens": 2}), 404)


def the_same_name_again_is_a_bad_request(engine: Engine) -> None:
    assert engine.load("twice", engine.adapter)[0] == 200
    try:
        _error(engine.load("twice", engine.adapter), 400)
        assert "twice" in engine.models()
    finally:
        engine.unload("twice")


def an_unknown_name_cannot_be_unloaded(engine: Engine) -> None:
    _error(engine.unload("nobody"), 404)


def missing_files_are_not_found(engine: Engine) -> None:
    _error(engine.load("missing", "/no/such/folder"), 404)
    assert "missing" not in engine.models()


def a_load_without_its_fields_is_a_bad_request(engine: Engine) -> None:
    _error(engine.load("", engine.adapter), 400)
    _error(engine.load("nameless", ""), 400)


def an_unknown_model_is_not_found(engine: Engine) -> None:
    for path, body in (
        ("/v1/completions", {"prompt": "hello"}),
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "hello"}]}),
    ):
        error = _error(engine.post(path, {"model": "nobody", "max_tokens": 1, **body}), 404)
        assert "nobody" in error["message"]


def a_prompt_that_is_too_long_is_a_bad_request(engine: Engine) -> None:
    most = engine.models()[engine.model]["max_model_len"]
    _error(engine.post("/v1/completions", {"model": engine.model, "prompt": [5] * (most + 1), "max_tokens": 1}), 400)


def a_chat_answer_has_its_shape(engine: Engine) -> None:
    body = {"model": engine.model, "messages": [{"role": "user", "content": "hello"}], "max_tokens": 3}
    status, answer = engine.post("/v1/chat/completions", body)
    assert (status, answer["object"]) == (200, "chat.completion")
    choice = answer["choices"][0]
    assert choice["message"]["role"] == "assistant"
    assert choice["finish_reason"] in ("stop", "length")
    assert answer["usage"]["total_tokens"] == answer["usage"]["prompt_tokens"] + answer["usage"]["completion_tokens"]


def a_stream_is_events_that_end_with_done(engine: Engine) -> None:
    body = {"model": engine.model, "prompt": "hello", "max_tokens": 3, "stream": True, "stream_options": {"include_usage": True}}
    with urllib.request.urlopen(_request(f"{engine.url}/v1/completions", body), timeout=PATIENCE) as reply:
        assert reply.headers["content-type"].startswith("text/event-stream")
        lines = [line.removeprefix("data: ") for line in reply.read().decode().splitlines() if line]
    assert lines[-1] == "[DONE]"
    chunks = [json.loads(line) for line in lines[:-1]]
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"]["completion_tokens"] >= 1
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks[:-1]][-1] in ("stop", "length")


def a_fingerprint_is_one_token_with_likelihoods(engine: Engine) -> None:
    body = {"model": engine.model, "prompt": "hello", "max_tokens": 1, "temperature": 0, "logprobs": 5}
    status, answer = engine.post("/v1/completions", body)
    told = answer["choices"][0]["logprobs"]
    assert status == 200
    assert len(told["tokens"]) == len(told["token_logprobs"]) == 1
    assert 5 <= len(told["top_logprobs"][0]) <= 6
    assert all(value <= 0 for value in told["top_logprobs"][0].values())


def metrics_have_the_names_that_are_read(engine: Engine) -> None:
    engine.post("/v1/completions", {"model": engine.model, "prompt": "hello", "max_tokens": 3})
    with urllib.request.urlopen(f"{engine.url}/metrics", timeout=PATIENCE) as reply:
        text = reply.read().decode()
    for name in (
        "vllm:num_requests_running",
        "vllm:num_requests_waiting",
        "vllm:time_to_first_token_seconds_bucket",
        "vllm:inter_token_latency_seconds_bucket",
        "vllm:e2e_request_latency_seconds_bucket",
        "vllm:request_success_total",
        "vllm:prompt_tokens_total",
        "vllm:generation_tokens_total",
    ):
        assert f"\n{name}{{" in text, name
    assert "\nprocess_start_time_seconds " in text


CASES: tuple[Case, ...] = (
    healthy,
    an_adapter_is_loaded_listed_used_and_unloaded,
    the_same_name_again_is_a_bad_request,
    an_unknown_name_cannot_be_unloaded,
    missing_files_are_not_found,
    a_load_without_its_fields_is_a_bad_request,
    an_unknown_model_is_not_found,
    a_prompt_that_is_too_long_is_a_bad_request,
    a_chat_answer_has_its_shape,
    a_stream_is_events_that_end_with_done,
    a_fingerprint_is_one_token_with_likelihoods,
    metrics_have_the_names_that_are_read,
)


def _request(url: str, body: Any) -> urllib.request.Request:
    return urllib.request.Request(url, json.dumps(body).encode(), {"content-type": "application/json"})


def _send(request: urllib.request.Request) -> tuple[int, Any]:
    """Status and body, the body parsed where it is JSON."""
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE) as reply:
            return reply.status, _parsed(reply.read())
    except urllib.error.HTTPError as error:
        return error.code, _parsed(error.read())


def _parsed(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return body.decode()


def _error(reply: tuple[int, Any], status: int) -> Any:
    """The error of a refusal with this status, in OpenAI's shape."""
    assert reply[0] == status, reply
    error = reply[1]["error"]
    assert isinstance(error["message"], str)
    assert error["message"]
    assert error["type"]
    assert error["code"] == status
    return error
