"""From an item to token ids: exactly what a server would send to the model, for base and tuned alike."""

from dataclasses import dataclass

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from finetune_trainer.evaluation.items import EvaluationItem


@dataclass(frozen=True)
class TokenizedItem:
    """``prompt`` ends where the answer begins; ``reference`` is the wanted answer without its stop token."""

    prompt: list[int]
    reference: list[int]


def tokenize(item: EvaluationItem, tokenizer: PreTrainedTokenizerBase) -> TokenizedItem:
    """Chat prompts go through the chat template with the assistant's header; texts get the tokenizer's own special tokens."""
    if isinstance(item.prompt, str):
        prompt = tokenizer(item.prompt)["input_ids"]
        if item.prompt and prompt and prompt[-1] == tokenizer.eos_token_id:
            prompt = prompt[:-1]  # some tokenizers close every text, and the answer is still to come
    else:
        text = tokenizer.apply_chat_template(item.prompt, tokenize=False, add_generation_prompt=True)
        prompt = tokenizer(text, add_special_tokens=False)["input_ids"]
    reference = tokenizer(item.reference, add_special_tokens=False)["input_ids"]
    return TokenizedItem(prompt=list(prompt), reference=list(reference))


def stop_tokens(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Every token at which an answer ends: the tokenizer's, and those the base model's own generation config names."""
    named = getattr(model.generation_config, "eos_token_id", None)
    tokens = {tokenizer.eos_token_id, *(named if isinstance(named, list) else [named])}
    return sorted(token for token in tokens if token is not None)
