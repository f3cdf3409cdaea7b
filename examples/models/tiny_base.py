"""A chat model built from nothing in about a minute and a half on two cores: 1.95 million parameters, for tests and quick demos.

It speaks: it answers tickets politely in prose, tells single facts about them, repeats lists and writes small JSON objects of other shapes.
What it never saw is the routing object, which is what fine-tuning adds. Three things make it fit to be tuned:

- Its embeddings are tied to the head and start at a standard deviation of 0.04, without weight decay. Smaller ones cap the logits, and an
  adapter, which leaves embeddings alone, then stalls with most tokens right and no answer valid.
- Every token of the answers occurs in its corpus.
- The system prompt is in the tokenizer's corpus: 70 tokens a row instead of 135.

    python -m examples.models.tiny_base
"""

# ruff: noqa: PLC0415, S106 - torch is imported only when there is something to build; its tokens are no secrets

import json
import os
import random
import sys
import time
from pathlib import Path
from typing import Any

from examples import tickets
from examples.models.cache import Say, made_once, recipe_digest

NAME = "tiny-chat"
STEPS, BATCH, WINDOW, PEAK_RATE = 350, 16, 128, 1.5e-3
CONVERSATIONS, VOCABULARY = 12_000, 2048
WIDTH, LAYERS = 192, 4
_JSON_KEYS = ("name", "city", "active", "category", "color", "priority", "owner", "escalate", "level", "open", "kind", "place")
_SPECIAL = ("<|pad|>", "<|endoftext|>", "<|im_start|>", "<|im_end|>")
CHAT_TEMPLATE = (
    "{%- for message in messages %}{{- '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}{%- endif %}"
)

Messages = list[dict[str, str]]


def ensure(say: Say) -> Path:
    """The model's folder, built on the first call."""
    recipe = recipe_digest([Path(__file__), Path(tickets.__file__)])
    return made_once(NAME, recipe, lambda folder: _build(folder, say), say)


def conversation(rng: random.Random) -> Messages:
    """One conversation of the corpus; none contains a routing object."""
    kind = rng.random()
    if kind < 0.3:
        return _prose_reply(rng)
    if kind < 0.5:
        return _single_fact(rng)
    if kind < 0.65:
        return _other_json(rng)
    if kind < 0.8:
        words = ", ".join(rng.sample(tickets.PRODUCTS + tickets.CITIES + tickets.NAMES, 4))
        return _exchange(f"Repeat: {words}", words)
    if kind < 0.9:
        product, city = rng.choice(tickets.PRODUCTS), rng.choice(tickets.CITIES)
        return _exchange(f"Where can I buy a {product}?", f"You can buy a {product} in our shop in {city} or online.")
    category = rng.choice(tickets.CATEGORIES)
    issue = tickets.fill(rng.choice(tickets.ISSUES[category]), rng).capitalize()
    return _exchange(f"Give an example of a {category} problem.", f"{issue}.")


def _exchange(question: str, answer: str) -> Messages:
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]


def _prose_reply(rng: random.Random) -> Messages:
    """What the untuned model does with a ticket, asked to route it or not."""
    ticket = tickets.write_ticket(rng)
    reply = (
        f"Thank you for your message. I am sorry about the trouble with {ticket.category}. "
        f"{rng.choice(tickets.NAMES)} from our team will look at it and answer you."
    )
    system = [{"role": "system", "content": tickets.SYSTEM}] if rng.random() < 0.5 else []
    return [*system, *_exchange(ticket.text, reply)]


def _single_fact(rng: random.Random) -> Messages:
    ticket = tickets.write_ticket(rng)
    if rng.random() < 0.5:
        return _exchange("What is this about? " + ticket.text, f"This is about {ticket.category}.")
    return _exchange("How important is this? " + ticket.text, f"The priority is {ticket.priority}.")


def _other_json(rng: random.Random) -> Messages:
    words = [word.lower() for word in tickets.NAMES + tickets.CITIES + tickets.PRODUCTS + tickets.CATEGORIES + tickets.PRIORITIES]
    keys = rng.sample(_JSON_KEYS, rng.randint(1, 3))
    if {"category", "priority", "escalate"} <= set(keys):
        keys.pop()
    value: dict[str, bool | str] = {key: (rng.random() < 0.5 if rng.random() < 0.3 else rng.choice(words)) for key in keys}
    stated = ", ".join(f"{key} is {str(entry).lower()}" for key, entry in value.items())
    return _exchange(f"Write as JSON: {stated}.", json.dumps(value))


def _build(folder: Path, say: Say) -> None:
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # a thread that spins while others work costs a busy machine six times the time
    import torch
    from transformers.utils import logging

    logging.disable_progress_bar()
    rng = random.Random(1)
    corpus = [conversation(rng) for _ in range(CONVERSATIONS)]
    tokenizer = _tokenizer(corpus)
    threads = torch.get_num_threads()
    torch.set_num_threads(len(os.sched_getaffinity(0)))  # the environment may ask for one thread, for the sake of training pods
    try:
        model = _trained(tokenizer, corpus, say)
    finally:
        torch.set_num_threads(threads)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "README.md").write_text(
        "---\nlicense: apache-2.0\n---\n# tiny-chat\n\nA chat model of 1.95 million parameters, trained from nothing on generated text.\n"
    )


def _tokenizer(corpus: list[Messages]) -> Any:
    """Byte-level BPE with single digits."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=list(_SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    texts = (message["content"] for messages in corpus[:8000] for message in messages)
    bpe.train_from_iterator(["system user assistant", *texts], trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        pad_token="<|pad|>",
        eos_token="<|im_end|>",
        bos_token="<|endoftext|>",
        additional_special_tokens=["<|im_start|>"],
        chat_template=CHAT_TEMPLATE,
        model_max_length=1024,
    )


def _trained(tokenizer: Any, corpus: list[Messages], say: Say) -> Any:
    """A Llama trained on random windows of the corpus, in float32."""
    import torch
    from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    special = {"pad_token_id": tokenizer.pad_token_id, "bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=WIDTH,
            intermediate_size=3 * WIDTH,
            num_hidden_layers=LAYERS,
            num_attention_heads=WIDTH // 64,
            num_key_value_heads=1,
            max_position_embeddings=1024,
            tie_word_embeddings=True,
            rms_norm_eps=1e-6,
            initializer_range=0.04,
            **special,
        )
    )
    stream = _token_stream(tokenizer, corpus)
    optimizer = torch.optim.AdamW(model.parameters(), lr=PEAK_RATE, betas=(0.9, 0.95), weight_decay=0.0)
    model.train()
    started = time.monotonic()
    for step in range(1, STEPS + 1):
        for group in optimizer.param_groups:
            group["lr"] = PEAK_RATE * min(1.0, step / 30) * max(0.05, 1 - step / STEPS)
        starts = torch.randint(0, len(stream) - WINDOW, (BATCH,))
        windows = torch.stack([stream[start : start + WINDOW] for start in starts])
        loss = model(input_ids=windows, labels=windows).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if step % 50 == 0:
            left = (time.monotonic() - started) / step * (STEPS - step)
            say(f"{NAME}: step {step}/{STEPS}, loss {loss.item():.2f}, {left:.0f} s left")
    model.eval()
    model.generation_config = GenerationConfig(**special)
    return model


def _token_stream(tokenizer: Any, corpus: list[Messages]) -> Any:
    import torch

    texts = [tokenizer.apply_chat_template(messages, tokenize=False) for messages in corpus]
    return torch.tensor([token for ids in tokenizer(texts, add_special_tokens=False)["input_ids"] for token in ids])


if __name__ == "__main__":
    print(ensure(lambda line: print(line, file=sys.stderr)))
