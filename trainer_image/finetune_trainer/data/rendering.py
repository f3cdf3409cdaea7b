"""From a conversation to text with the spans that are learned: exactly the words the assistant says, and the token that ends its turn.

Where the chat template marks them (``{% generation %}``) the markers are believed. Most templates have none: there, a conversation cut off
before an answer must be a prefix of the whole, and what follows the prefix up to the end-of-turn token is what the assistant says.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from jinja2.exceptions import TemplateError
from transformers import PreTrainedTokenizerBase
from transformers.utils.chat_template_utils import render_jinja_template

from finetune_trainer.contract import LossOn
from finetune_trainer.data.examples import Conversation, Document, Dropped, DropReason, Example, row_hash
from finetune_trainer.pod.errors import ModelError

_REFUSALS = (TemplateError, TypeError, ValueError)
_GENERATION = re.compile(r"\{%-?\s*generation\s*-?%\}")
Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Rendered:
    """``text`` as the tokenizer gets it; ``spans`` are character ranges that are learned, in order and not overlapping."""

    row: int
    text: str
    spans: tuple[Span, ...]
    special_tokens: bool = False
    """Whether the tokenizer adds its own special tokens (raw text) or the template wrote them (chats)."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """``text`` is what a server would give to the tokenizer before the answer begins."""

    row: int
    text: str


class Renderer:
    """Renders rows for one tokenizer; ``stops`` are the texts of the tokens that end a turn."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, loss_on: LossOn, stops: Sequence[str]) -> None:
        self._tokenizer = tokenizer
        self._loss_on = loss_on
        self._stops = [stop for stop in stops if stop]
        self._template = tokenizer.get_chat_template() if tokenizer.chat_template else None
        self._marked = self._template is not None and _GENERATION.search(self._template) is not None

    @property
    def has_template(self) -> bool:
        return self._template is not None

    def render(self, examples: Sequence[Example]) -> list[Rendered | Dropped]:
        """One result per example, in order. Rows that the template refuses are dropped with their number."""
        conversations = [example for example in examples if isinstance(example, Conversation)]
        chats = iter(self._conversations(conversations))
        return [next(chats) if isinstance(example, Conversation) else self._document(example) for example in examples]

    def prompts(self, conversations: Sequence[Conversation]) -> list[Prompt | Dropped]:
        """The questions as a server would ask them, in order. Those that the template refuses are dropped with their number.

        Raises ``ModelError`` for a conversation that a base model without a chat template cannot be asked.
        """
        if self._template is None:
            return [Prompt(conversation.row, _single_question(conversation)) for conversation in conversations]
        if not conversations:
            return []
        try:
            texts = self._apply([conversation.prompt for conversation in conversations], for_answer=True)
        except _REFUSALS:
            if len(conversations) == 1:
                return [_refused(conversations[0])]
            return [self.prompts([conversation])[0] for conversation in conversations]
        return [Prompt(conversation.row, text) for conversation, text in zip(conversations, texts, strict=True)]

    def _document(self, document: Document) -> Rendered:
        end = self._tokenizer.eos_token or ""
        text = document.text + end
        return Rendered(document.row, text, ((0, len(text)),), special_tokens=True)

    def _conversations(self, conversations: Sequence[Conversation]) -> list[Rendered | Dropped]:
        if not conversations:
            return []
        if self._template is None:
            return [self._without_template(conversation) for conversation in conversations]
        try:
            return self._batch(conversations)
        except _REFUSALS:
            if len(conversations) == 1:
                return [_refused(conversations[0])]
            return [self._conversations([conversation])[0] for conversation in conversations]

    def _batch(self, conversations: Sequence[Conversation]) -> list[Rendered | Dropped]:
        texts = self._apply([conversation.messages for conversation in conversations], for_answer=False)
        if self._loss_on is LossOn.ALL:
            return [Rendered(c.row, text, ((0, len(text)),)) for c, text in zip(conversations, texts, strict=True)]
        spans = self._marked_spans(conversations) if self._marked else self._found_spans(conversations, texts)
        if self._loss_on is LossOn.COMPLETION:
            spans = [span[-1:] for span in spans]
        return [Rendered(c.row, text, tuple(span)) for c, text, span in zip(conversations, texts, spans, strict=True)]

    def _apply(self, chats: list[list[dict[str, str]]], *, for_answer: bool) -> list[str]:
        return list(self._tokenizer.apply_chat_template(chats, tokenize=False, add_generation_prompt=for_answer))

    def _marked_spans(self, conversations: Sequence[Conversation]) -> list[list[Span]]:
        _, indices = render_jinja_template(
            conversations=[conversation.messages for conversation in conversations],
            chat_template=self._template,
            return_assistant_tokens_mask=True,
            **self._tokenizer.special_tokens_map,
        )
        return [[(int(start), int(end)) for start, end in spans] for spans in indices]

    def _found_spans(self, conversations: Sequence[Conversation], texts: Sequence[str]) -> list[list[Span]]:
        prefixes: list[list[dict[str, str]]] = []
        turns: list[list[dict[str, str]]] = []
        for conversation in conversations:
            for index, message in enumerate(conversation.messages):
                if message["role"] == "assistant":
                    prefixes.append(conversation.messages[:index])
                    if index + 1 < len(conversation.messages):
                        turns.append(conversation.messages[: index + 1])
        heads = iter(self._apply(prefixes, for_answer=True))
        ends = iter(self._apply(turns, for_answer=False) if turns else [])
        found: list[list[Span]] = []
        for conversation, text in zip(conversations, texts, strict=True):
            spans: list[Span] = []
            for index, message in enumerate(conversation.messages):
                if message["role"] == "assistant":
                    last = index + 1 == len(conversation.messages)
                    spans.append(self._span(text, next(heads), text if last else next(ends), message["content"]))
            found.append(spans)
        return found

    def _span(self, text: str, head: str, upto: str, answer: str) -> Span:
        """What follows ``head`` in ``text``, up to and with the end-of-turn token that closes the answer in ``upto``."""
        if not text.startswith(head) or not text.startswith(upto.rstrip()):
            raise ValueError("not incremental")
        said = text.find(answer.strip(), len(head), len(upto))
        after = len(head) if said < 0 else said + len(answer.strip())
        ends = [position + len(stop) for stop in self._stops if (position := text.find(stop, after, len(upto))) >= 0]
        return len(head), min(ends, default=len(upto))

    def _without_template(self, conversation: Conversation) -> Rendered:
        """Base models without a chat template see prompt and answer as plain text, closed by the end-of-text token."""
        head = _single_question(conversation)
        text = head + conversation.target + (self._tokenizer.eos_token or "")
        start = 0 if self._loss_on is LossOn.ALL else len(head)
        return Rendered(conversation.row, text, ((start, len(text)),), special_tokens=True)


def _single_question(conversation: Conversation) -> str:
    if [message["role"] for message in conversation.messages] != ["user", "assistant"]:
        message = "baseModel: its tokenizer has no chat template, which rows with several messages or a system prompt need"
        raise ModelError("ChatTemplateMissing", message, "Use an instruction-tuned base model, or prompt and completion fields.")
    return conversation.messages[0]["content"]


def _refused(conversation: Conversation) -> Dropped:
    return Dropped(conversation.row, DropReason.TEMPLATE_REFUSED, "messages", row_hash(conversation.messages))
