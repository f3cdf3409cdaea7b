"""Requests for text: what clients may ask for, with OpenAI's names.

Fields that change nothing here are ignored, as vLLM does. A field that would change the answer and is not supported is refused by name:
an answer that silently lacks what was asked for is worse than none.
"""

from collections.abc import Callable
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from finetune_inference.server.protocol.errors import invalid
from finetune_inference.server.sampling import Sampling

MOST_LOGPROBS = 20
MOST_STOPS = 16
LONGEST_STOP = 256

R = TypeVar("R", bound="TextRequest")
Stop = Annotated[str, Field(min_length=1, max_length=LONGEST_STOP)]


def _given(value: Any) -> bool:
    return bool(value)


def _not(*neutral: Any) -> Callable[[Any], bool]:
    return lambda value: value is not None and value not in neutral


UNSUPPORTED: dict[str, Callable[[Any], bool]] = {
    "n": _not(1),
    "best_of": _not(1),
    "use_beam_search": _given,
    "echo": _given,
    "suffix": _given,
    "tools": _given,
    "functions": _given,
    "function_call": _not("none", "auto"),
    "response_format": lambda value: not (value is None or (isinstance(value, dict) and value.get("type") == "text")),
    "structured_outputs": _given,
    "guided_json": _given,
    "guided_regex": _given,
    "guided_choice": _given,
    "guided_grammar": _given,
    "logit_bias": _given,
    "frequency_penalty": _not(0),
    "presence_penalty": _not(0),
    "repetition_penalty": _not(1),
    "min_p": _not(0),
    "min_tokens": _not(0),
    "bad_words": _given,
    "prompt_logprobs": _given,
    "prompt_embeds": _given,
    "chat_template": _given,
    "continue_final_message": _given,
    "include_stop_str_in_output": _given,
    "audio": _given,
    "modalities": lambda value: value not in (None, ["text"]),
    "web_search_options": _given,
}


class StreamOptions(BaseModel):
    model_config = ConfigDict(extra="ignore")

    include_usage: bool = False


class TextRequest(BaseModel):
    """What chat and completions have in common."""

    model_config = ConfigDict(extra="allow")

    model: str = Field(max_length=512)
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, gt=0, le=1)
    top_k: int | None = Field(default=None, ge=-1)
    seed: int | None = None
    max_tokens: int | None = Field(default=None, ge=1)
    stop: Stop | Annotated[list[Stop], Field(max_length=MOST_STOPS)] | None = None
    stop_token_ids: list[int] | None = Field(default=None, max_length=64)
    ignore_eos: bool = False
    skip_special_tokens: bool = True

    @property
    def stops(self) -> tuple[str, ...]:
        return () if self.stop is None else (self.stop,) if isinstance(self.stop, str) else tuple(self.stop)

    @property
    def wants_usage(self) -> bool:
        return self.stream_options is not None and self.stream_options.include_usage

    @property
    def likelihoods(self) -> int | None:
        """How many alternatives per token are told, None for no likelihoods."""
        return None

    @property
    def sampling(self) -> Sampling:
        return Sampling(
            temperature=1.0 if self.temperature is None else self.temperature,
            top_p=1.0 if self.top_p is None else self.top_p,
            top_k=max(0, self.top_k or 0),
            seed=self.seed,
            logprobs=self.likelihoods,
        )


class Part(BaseModel):
    model_config = ConfigDict(extra="ignore")

    type: str
    text: str | None = None


class Message(BaseModel):
    model_config = ConfigDict(extra="ignore")

    role: str = Field(max_length=64)
    content: str | list[Part] | None = None
    name: str | None = None

    def rendered(self) -> dict[str, str]:
        """As templates take it: one text per message."""
        if isinstance(self.content, list):
            return {"role": self.role, "content": "\n".join(part.text or "" for part in self.content)}
        return {"role": self.role, "content": self.content or ""}


class ChatRequest(TextRequest):
    messages: list[Message] = Field(min_length=1, max_length=4096)
    max_completion_tokens: int | None = Field(default=None, ge=1)
    logprobs: bool | None = False
    top_logprobs: int | None = Field(default=None, ge=0, le=MOST_LOGPROBS)
    add_generation_prompt: bool = True

    @property
    def asked_tokens(self) -> int | None:
        return self.max_completion_tokens if self.max_completion_tokens is not None else self.max_tokens

    @property
    def likelihoods(self) -> int | None:
        return (self.top_logprobs or 0) if self.logprobs else None


Prompt = str | list[int] | list[str] | list[list[int]]


class CompletionRequest(TextRequest):
    prompt: Prompt
    logprobs: int | None = Field(default=None, ge=0, le=MOST_LOGPROBS)
    add_special_tokens: bool = True

    @property
    def asked_tokens(self) -> int:
        return 16 if self.max_tokens is None else self.max_tokens

    @property
    def likelihoods(self) -> int | None:
        return self.logprobs

    @property
    def only_prompt(self) -> str | list[int]:
        """The prompt, of which there may be one."""
        if isinstance(self.prompt, str):
            return self.prompt
        if not self.prompt:
            raise invalid("prompt: it is empty", "prompt")
        if isinstance(self.prompt[0], int):
            return [token for token in self.prompt if isinstance(token, int)]
        if len(self.prompt) > 1:
            raise invalid(f"prompt: {len(self.prompt)} prompts in one request are not supported; send one request for each", "prompt")
        return self.prompt[0]


def parse_chat(body: bytes) -> ChatRequest:
    """A chat request. Raises ``RequestError`` 400, naming the field."""
    request = _parse(ChatRequest, body)
    for number, message in enumerate(request.messages):
        parts = message.content if isinstance(message.content, list) else []
        if foreign := [part.type for part in parts if part.type != "text"]:
            raise invalid(f"messages[{number}].content: parts of type {foreign[0]} are not supported, text is", "messages")
    if not request.add_generation_prompt:
        raise invalid("add_generation_prompt: false is not supported; leave it out", "add_generation_prompt")
    if request.top_logprobs and not request.logprobs:
        raise invalid("top_logprobs: it needs logprobs: true", "top_logprobs")
    return request


def parse_completion(body: bytes) -> CompletionRequest:
    """A completion request. Raises ``RequestError`` 400, naming the field."""
    return _parse(CompletionRequest, body)


def _parse(kind: type[R], body: bytes) -> R:
    try:
        request = kind.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        field = ".".join(str(part) for part in first["loc"]) or "body"
        raise invalid(f"{field}: {first['msg']}", str(first["loc"][0]) if first["loc"] else None) from None
    extra = request.model_extra or {}
    for name, meant in UNSUPPORTED.items():
        if meant(extra.get(name)):
            raise invalid(f"{name}: this server does not support it; leave it out or use its neutral value", name)
    choice = extra.get("tool_choice")
    if choice not in (None, "none", "auto"):
        raise invalid("tool_choice: this server does not call tools; leave it out", "tool_choice")
    if request.stream_options is not None and not request.stream:
        raise invalid("stream_options: it needs stream: true", "stream_options")
    return request
