"""Answers: whole and streamed, to the official client, and the same text from a mixed batch as alone."""

import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.process.server.conftest import Server, until

HELLO: Any = [{"role": "user", "content": "my router shows error code 3"}]


def completion(server: Server, **fields: Any) -> Any:
    reply = server.ask("/v1/completions", {"max_tokens": 24, "temperature": 0, **fields})
    assert reply.status == 200, reply.body
    return reply.json["choices"][0]


def test_the_official_client_gets_a_chat_answer(openai: Any) -> None:
    answer = openai.chat.completions.create(model="lora", messages=HELLO, max_tokens=12, temperature=0)
    assert answer.object == "chat.completion"
    assert answer.model == "lora"
    assert answer.choices[0].message.role == "assistant"
    assert answer.choices[0].message.content
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    assert answer.choices[0].finish_reason in ("stop", "length")


def test_a_stream_adds_up_to_the_whole_answer(openai: Any) -> None:
    asked: Any = {"model": "lora", "messages": HELLO, "max_tokens": 30, "temperature": 0}
    whole = openai.chat.completions.create(**asked)
    chunks = list(openai.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True}))
    assert chunks[0].choices[0].delta.role == "assistant"
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == whole.choices[0].message.content
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == whole.choices[0].finish_reason
    assert (chunks[-1].choices, chunks[-1].usage) == ([], whole.usage)
    assert {chunk.id for chunk in chunks} == {chunks[0].id}


def test_completions_stream_too(openai: Any) -> None:
    asked: Any = {"model": "base", "prompt": "the router", "max_tokens": 20, "temperature": 0}
    whole = openai.completions.create(**asked)
    chunks = list(openai.completions.create(**asked, stream=True))
    assert "".join(chunk.choices[0].text for chunk in chunks) == whole.choices[0].text
    assert not any(chunk.usage for chunk in chunks)


def test_a_mixed_batch_gives_the_text_of_separate_runs(server: Server, adapters: dict[str, Path]) -> None:
    """Every adapter kind and the base model, prompts of all lengths (some computed in pieces), more requests than a batch holds."""
    rng = random.Random(1)
    models = ["base", *adapters]
    asked = [
        {
            "model": models[number % len(models)],
            "prompt": [rng.randrange(4, 600) for _ in range(rng.choice([1, 9, 40, 200]))],
            "max_tokens": rng.randint(8, 40),
            "ignore_eos": True,
        }
        for number in range(4 * len(models))
    ]
    separate = [completion(server, **fields)["text"] for fields in asked]
    with ThreadPoolExecutor(len(asked)) as clients:
        mixed = list(clients.map(lambda fields: completion(server, **fields)["text"], asked))
    assert mixed == separate
    assert len(set(separate)) > len(asked) // 2


@pytest.mark.parametrize("name", ["lora", "rslora", "pattern", "dora", "ia3", "prompt", "ptuning", "prefix"])
def test_every_kind_of_adapter_answers_as_peft_would(server: Server, tiny_base: Path, adapters: dict[str, Path], name: str) -> None:
    ids = [random.Random(2).randrange(4, 600) for _ in range(30)]
    told = completion(server, model=name, prompt=ids, ignore_eos=True, logprobs=0)["logprobs"]["tokens"]
    assert told == by_peft(tiny_base, adapters[name], ids, 24)


def by_peft(base: Path, adapter: Path, ids: list[int], tokens: int) -> list[str]:
    """What PEFT generates by itself, token by token."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(str(base)), str(adapter)).eval()
    prompt = torch.tensor([ids])
    generated = model.generate(
        input_ids=prompt, attention_mask=torch.ones_like(prompt), do_sample=False, max_new_tokens=tokens, eos_token_id=None
    )
    spelled = AutoTokenizer.from_pretrained(str(base)).backend_tokenizer
    return [spelled.decode([token], skip_special_tokens=False) for token in generated[0].tolist()[len(ids) :]]


def test_a_quantised_base_model_is_served_as_its_configuration_says(
    start_server: Callable[..., Server], tiny_base: Path, adapters: dict[str, Path], tmp_path: Path
) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig

    in_four_bits = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.float32)
    model = AutoModelForCausalLM.from_pretrained(str(tiny_base), quantization_config=in_four_bits, device_map={"": "cpu"})
    model.save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(str(tiny_base)).save_pretrained(tmp_path)
    quantised = start_server("--lora", f"lora={adapters['lora']}", model=tmp_path)
    told = completion(quantised, model="lora", prompt=[9, 40, 77], max_tokens=1, logprobs=5)["logprobs"]["top_logprobs"][0]
    tuned = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(str(tmp_path)), str(adapters["lora"])).eval()
    with torch.inference_mode():
        expected = torch.log_softmax(tuned(torch.tensor([[9, 40, 77]])).logits[0, -1], -1).topk(5).values.tolist()
    # Fewer than five where tokens that are no whole characters are spelled alike.
    assert len(told) >= 2
    assert all(min(abs(value - other) for other in expected) < 1e-4 for value in told.values())
    assert max(told.values()) == pytest.approx(expected[0], abs=1e-4)
    refusal = quantised.load("dora", adapters["dora"])
    assert (refusal.status, "quantised" in refusal.error["message"]) == (400, True)


def test_a_fingerprint_is_one_token_with_its_likeliest_rivals(server: Server) -> None:
    def fingerprint(model: str) -> dict[str, float]:
        told = completion(server, model=model, prompt="fingerprint", max_tokens=1, logprobs=5)["logprobs"]
        assert len(told["tokens"]) == 1
        return dict(told["top_logprobs"][0])

    assert fingerprint("lora") == pytest.approx(fingerprint("lora"))
    assert fingerprint("lora") != pytest.approx(fingerprint("base"))
    chat = {"model": "lora", "messages": HELLO, "max_tokens": 1, "logprobs": True, "top_logprobs": 4}
    content = server.ask("/v1/chat/completions", chat).json["choices"][0]["logprobs"]["content"]
    assert [len(entry["top_logprobs"]) for entry in content] == [4]


def test_a_seed_gives_the_same_answer_and_another_seed_another(server: Server) -> None:
    texts = [completion(server, model="base", prompt="hi", temperature=1, top_p=0.95, seed=seed)["text"] for seed in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]


def test_an_answer_ends_before_a_stop_string(server: Server) -> None:
    whole = completion(server, model="base", prompt="hi", ignore_eos=True)
    stop = whole["text"][5:8]
    cut = completion(server, model="base", prompt="hi", ignore_eos=True, stop=[stop])
    assert (cut["text"], cut["finish_reason"]) == (whole["text"][: whole["text"].index(stop)], "stop")
    assert whole["finish_reason"] == "length"


def test_an_answer_ends_at_a_stop_token(server: Server, tiny_base: Path) -> None:
    from transformers import AutoTokenizer

    asked: Any = {"model": "lora", "prompt": [5, 6], "max_tokens": 24, "temperature": 0, "logprobs": 0, "ignore_eos": True}
    whole = server.ask("/v1/completions", asked).json["choices"][0]["logprobs"]["tokens"]
    tokenizer = AutoTokenizer.from_pretrained(str(tiny_base)).backend_tokenizer
    spelled = {token: tokenizer.decode([token], skip_special_tokens=False) for token in range(tokenizer.get_vocab_size())}
    stops = [token for token, text in spelled.items() if text == whole[-1]]
    cut = server.ask("/v1/completions", {**asked, "stop_token_ids": stops[:64]}).json
    assert cut["choices"][0]["finish_reason"] == "stop"
    assert cut["usage"]["completion_tokens"] == whole.index(whole[-1]) + 1


def test_a_client_that_goes_away_ends_its_sequence(server: Server, openai: Any) -> None:
    aborted = server.metric("vllm:request_success_total", finished_reason="abort")
    generated = server.metric("vllm:generation_tokens_total")
    stream = openai.completions.create(model="base", prompt="hi", max_tokens=1000, stream=True, extra_body={"ignore_eos": True})
    next(iter(stream))
    stream.close()
    until(lambda: server.metric("vllm:request_success_total", finished_reason="abort") == aborted + 1, "the sequence was ended")
    assert server.metric("vllm:generation_tokens_total") - generated < 1000
    until(lambda: server.metric("vllm:num_requests_running") == 0, "nothing runs")


def test_metrics_count_tokens_of_the_adapter_that_made_them(server: Server) -> None:
    before = server.metric("finetune_server_adapter_generation_tokens_total", adapter="rslora")
    completion(server, model="rslora", prompt="hi", max_tokens=7, ignore_eos=True)
    until(lambda: server.metric("finetune_server_adapter_generation_tokens_total", adapter="rslora") == before + 7, "they are counted")
    assert server.metric("vllm:lora_requests_info") > 0
    assert server.metric("finetune_server_adapter_loaded", adapter="rslora", rank="8") == 1
