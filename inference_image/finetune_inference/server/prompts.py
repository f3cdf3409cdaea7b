"""From a request to token ids: the chat template, the tokenizer, and whether prompt and answer fit the model."""

from typing import Any

from jinja2 import TemplateError
from tokenizers import Tokenizer

from finetune_inference.server.protocol.errors import invalid
from finetune_inference.server.protocol.requests import ChatRequest, CompletionRequest


class Prompts:
    """Renders and tokenizes for one base model."""

    def __init__(self, tokenizer: Any, backend: Tokenizer, model_length: int) -> None:
        self._tokenizer = tokenizer
        self._backend = backend
        self._vocabulary = len(tokenizer)
        self._model_length = model_length

    def chat(self, request: ChatRequest) -> list[int]:
        """Token ids of a conversation. Raises ``RequestError`` 400 when the template refuses it."""
        if not self._tokenizer.chat_template:
            raise invalid("messages: this model has no chat template; use /v1/completions", "messages")
        messages = [message.rendered() for message in request.messages]
        try:
            text = self._tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        except (TemplateError, ValueError, TypeError) as error:
            raise invalid(f"messages: the chat template refuses them: {error}", "messages") from error
        return self._ids(text, special=False)

    def completion(self, request: CompletionRequest) -> list[int]:
        """Token ids of a prompt. Raises ``RequestError`` 400 for ids that the vocabulary lacks and for an empty prompt."""
        prompt = request.only_prompt
        if isinstance(prompt, str):
            ids = self._ids(prompt, special=request.add_special_tokens)
        else:
            ids = prompt
            if outside := [token for token in ids if not 0 <= token < self._vocabulary]:
                raise invalid(f"prompt: token {outside[0]} is outside the vocabulary of {self._vocabulary}", "prompt")
        if not ids:
            raise invalid("prompt: it is empty", "prompt")
        return ids

    def room(self, given: int, asked: int | None) -> int:
        """How many tokens the answer may have. Raises ``RequestError`` 400 when prompt, or prompt and answer, are too long."""
        room = self._model_length - given
        wanted = max(1, asked or 1)
        if room < wanted:
            raise invalid(
                f"This model's maximum context length is {self._model_length} tokens. However, you requested {given + wanted} tokens "
                f"({given} in the prompt, {wanted} in the completion). Please reduce the length of the prompt or completion.",
                "max_tokens" if room > 0 else "input_tokens",
            )
        return room if asked is None else asked

    def spell(self, token: int) -> str:
        """The text of one token."""
        return str(self._backend.decode([token], skip_special_tokens=False))

    def _ids(self, text: str, *, special: bool) -> list[int]:
        return list(self._backend.encode(text, add_special_tokens=special).ids)
