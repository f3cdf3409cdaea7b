"""Greedy answers in batches, cut off at the stop tokens: the same decoding for base and tuned, whatever the model's own defaults say."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase, StoppingCriteriaList

from finetune_trainer.evaluation.batches import BatchSize
from finetune_trainer.evaluation.prompts import stop_tokens
from finetune_trainer.pod.errors import Stopped

_HINT = "Lower spec.evaluation.maxNewTokens, or raise spec.resources.limits.memory (on an accelerator: take a larger one)."


def answer(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[list[int]],
    *,
    max_new_tokens: int,
    batch_size: int,
    stop: Callable[[], bool],
    progress: Callable[[int], None],
) -> list[str]:
    """Answers in the order of ``prompts``; ``progress`` gets the number of items just finished.

    ``batch_size`` prompts at once, or fewer where memory does not suffice. Raises ``Stopped``, ``OutOfMemoryError``.
    """
    answers = [""] * len(prompts)
    order = sorted(range(len(prompts)), key=lambda index: len(prompts[index]))
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    config = _greedy(model, tokenizer, pad, max_new_tokens)

    def read(batch: list[int]) -> list[str]:
        ids, mask = _left_padded([prompts[index] for index in batch], pad, model.device)
        output = model.generate(
            input_ids=ids,
            attention_mask=mask,
            generation_config=config,
            stopping_criteria=StoppingCriteriaList([_stop_criterion(stop)]),
        )
        raise_if_stopped(stop)
        texts: list[str] = tokenizer.batch_decode(output[:, ids.shape[1] :], skip_special_tokens=True)
        return texts

    with _own_generation_config(model, config), torch.inference_mode():
        for batch, texts in BatchSize(batch_size, _HINT).parts(order, read):
            for index, text in zip(batch, texts, strict=True):
                answers[index] = text
            progress(len(batch))
    return answers


def _stop_criterion(stop: Callable[[], bool]) -> Callable[..., torch.Tensor]:
    """Ends a batch at the next token, so that a stop waits for one token and not for one batch."""

    def requested(input_ids: torch.Tensor, _scores: object, **_: object) -> torch.Tensor:
        return torch.full((input_ids.shape[0],), stop(), dtype=torch.bool, device=input_ids.device)

    return requested


def raise_if_stopped(stop: Callable[[], bool]) -> None:
    if stop():
        raise Stopped("EvaluationStopped", "asked to stop while evaluating", "The next attempt evaluates again from the trained model.")


def _greedy(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, pad: int, max_new_tokens: int) -> GenerationConfig:
    return GenerationConfig(
        do_sample=False,
        num_beams=1,
        repetition_penalty=1.0,
        max_new_tokens=max_new_tokens,
        eos_token_id=stop_tokens(model, tokenizer),
        pad_token_id=pad,
        bos_token_id=tokenizer.bos_token_id,
    )


@contextmanager
def _own_generation_config(model: PreTrainedModel, config: GenerationConfig) -> Iterator[None]:
    """Take away what ``generate`` would fill open values from, a sampling temperature of the model's own config for example."""
    before = model.generation_config
    model.generation_config = config
    try:
        yield
    finally:
        model.generation_config = before


def _left_padded(prompts: list[list[int]], pad: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids and attention mask of shape (prompts, longest); padding stands on the left, where the answers do not continue."""
    longest = max(len(prompt) for prompt in prompts)
    ids = torch.full((len(prompts), longest), pad, dtype=torch.long)
    mask = torch.zeros((len(prompts), longest), dtype=torch.long)
    for row, prompt in enumerate(prompts):
        ids[row, longest - len(prompt) :] = torch.tensor(prompt)
        mask[row, longest - len(prompt) :] = 1
    return ids.to(device), mask.to(device)
