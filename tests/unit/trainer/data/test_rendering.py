"""Exactly what the assistant says is learned, and the token that ends its turn, whether or not the template marks it."""

from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from finetune_trainer.contract import LossOn
from finetune_trainer.data.examples import Conversation, Document, Dropped
from finetune_trainer.data.rendering import Rendered, Renderer
from finetune_trainer.data.tokenization import tokenize
from finetune_trainer.pod.errors import ModelError
from tests.unit.trainer.conftest import CHATML

MARKED = (
    "{%- for message in messages %}{{- '<|im_start|>' + message['role'] + '\n' }}{%- if message['role'] == 'assistant' %}"
    "{%- generation %}{{- message['content'] + '<|im_end|>' }}{%- endgeneration %}{{- '\n' }}"
    "{%- else %}{{- message['content'] + '<|im_end|>' + '\n' }}{%- endif %}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}{%- endif %}"
)
TALK = Conversation(
    7,
    [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "one?"},
        {"role": "assistant", "content": "one."},
        {"role": "user", "content": "two? Ω"},
        {"role": "assistant", "content": "two. Ωmega"},
    ],
)


@pytest.fixture(scope="module")
def tokenizer(tiny_base: Path) -> PreTrainedTokenizerFast:
    return AutoTokenizer.from_pretrained(tiny_base)


def learned(tokenizer: Any, example: Any, loss_on: LossOn, template: str | None) -> list[str]:
    """The learned stretches of a row, decoded."""
    tokenizer.chat_template = template
    (rendered,) = Renderer(tokenizer, loss_on, ["<|im_end|>"]).render([example])
    assert isinstance(rendered, Rendered)
    (row,) = tokenize(tokenizer, [rendered], None)
    assert tokenizer.decode(row.input_ids) == rendered.text
    stretches: list[list[int]] = []
    for index, (token, mask) in enumerate(zip(row.input_ids.tolist(), row.loss_mask.tolist(), strict=True)):
        if mask and (index == 0 or not row.loss_mask[index - 1]):
            stretches.append([])
        if mask:
            stretches[-1].append(token)
    return [str(tokenizer.decode(stretch)) for stretch in stretches]


@pytest.mark.parametrize("template", [CHATML, MARKED], ids=["plain template", "template with generation markers"])
class TestLossOn:
    def test_assistant_learns_every_answer_with_its_stop_token(self, tokenizer: Any, template: str) -> None:
        assert learned(tokenizer, TALK, LossOn.ASSISTANT, template) == ["one.<|im_end|>", "two. Ωmega<|im_end|>"]

    def test_completion_learns_the_last_answer_only(self, tokenizer: Any, template: str) -> None:
        assert learned(tokenizer, TALK, LossOn.COMPLETION, template) == ["two. Ωmega<|im_end|>"]

    def test_all_learns_everything(self, tokenizer: Any, template: str) -> None:
        (everything,) = learned(tokenizer, TALK, LossOn.ALL, template)
        assert everything.startswith("<|im_start|>system")
        assert everything.endswith("Ωmega<|im_end|>\n")


def test_the_prompt_part_is_exactly_what_a_server_would_send(tokenizer: Any) -> None:
    tokenizer.chat_template = CHATML
    (rendered,) = Renderer(tokenizer, LossOn.COMPLETION, ["<|im_end|>"]).render([TALK])
    assert isinstance(rendered, Rendered)
    assert rendered.text[: rendered.spans[0][0]] == tokenizer.apply_chat_template(TALK.prompt, tokenize=False, add_generation_prompt=True)


def test_an_answer_that_quotes_the_stop_token_is_learned_to_its_end(tokenizer: Any) -> None:
    quoting = Conversation(1, [{"role": "user", "content": "q"}, {"role": "assistant", "content": "say <|im_end|> now"}])
    assert learned(tokenizer, quoting, LossOn.ASSISTANT, CHATML) == ["say <|im_end|> now<|im_end|>"]


def test_a_row_that_the_template_refuses_is_dropped_alone(tokenizer: Any) -> None:
    tokenizer.chat_template = "{%- if messages[0]['role'] == 'system' %}{{- raise_exception('no system role') }}{%- endif %}" + CHATML
    plain = Conversation(8, TALK.messages[1:])
    refused, kept = Renderer(tokenizer, LossOn.ASSISTANT, ["<|im_end|>"]).render([TALK, plain])
    assert isinstance(refused, Dropped)
    assert refused.row == 7
    assert isinstance(kept, Rendered)


def test_without_a_template_prompt_and_completion_are_plain_text_closed_by_the_stop_token(tokenizer: Any) -> None:
    pair = Conversation(1, [{"role": "user", "content": "question "}, {"role": "assistant", "content": "answer"}])
    assert learned(tokenizer, pair, LossOn.ASSISTANT, None) == ["answer<|im_end|>"]


def test_without_a_template_conversations_are_refused(tokenizer: Any) -> None:
    tokenizer.chat_template = None
    with pytest.raises(ModelError, match="ChatTemplateMissing"):
        Renderer(tokenizer, LossOn.ASSISTANT, ["<|im_end|>"]).render([TALK])


def test_raw_text_is_closed_by_the_stop_token_and_learned_whole(tokenizer: Any) -> None:
    assert learned(tokenizer, Document(1, "Once upon a time"), LossOn.ASSISTANT, CHATML) == ["Once upon a time<|im_end|>"]
