"""Adapters come and go while the server answers; what cannot be served is refused with the reason."""

import json
import os
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from tests.process.server.conftest import GUARD, Server, until

ADAPTERS, ROUNDS = (50, 20) if os.environ.get("FINETUNE_FULL_SIZE") else (8, 6)


@pytest.fixture
def changed(adapters: dict[str, Path], tmp_path: Path) -> Callable[..., Path]:
    """A copy of the LoRA adapter with other settings, other tensors or more files."""

    def change(settings: dict[str, Any] | None = None, tensors: Callable[[dict[str, Any]], dict[str, Any]] | None = None) -> Path:
        copy = tmp_path / "changed"
        shutil.copytree(adapters["lora"], copy)
        if settings:
            config = json.loads((copy / "adapter_config.json").read_text())
            (copy / "adapter_config.json").write_text(json.dumps({**config, **settings}))
        if tensors:
            save_file(tensors(load_file(copy / "adapter_model.safetensors")), copy / "adapter_model.safetensors")
        return copy

    return change


def refused(server: Server, path: Path, status: int = 400) -> str:
    reply = server.load("refused", path)
    assert reply.status == status, reply.body
    assert "refused" not in server.models()
    return str(reply.error["message"])


def test_models_tell_base_and_adapters_with_their_folders(server: Server, adapters: dict[str, Path], tiny_base: Path) -> None:
    models = server.models()
    assert (models["base"]["root"], models["base"]["parent"]) == (str(tiny_base), None)
    assert {name: models[name]["root"] for name in adapters} == {name: str(path) for name, path in adapters.items()}
    assert {models[name]["parent"] for name in adapters} == {"base"}


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"r": 32}, "rank 32 is above this server's 16"),
        ({"target_modules": ["no_such_layer"]}, "no_such_layer"),
        ({"target_modules": ["q_proj"]}, "have no place"),
        ({"r": 3}, "the base model takes"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
        ({"peft_type": "LOHA"}, "LOHA is not served"),
        ({"target_modules": ["embed_tokens"]}, "no linear layer|have no place|lacks"),
    ],
)
def test_settings_that_do_not_fit_are_refused(server: Server, changed: Callable[..., Path], settings: dict[str, Any], words: str) -> None:
    import re

    assert re.search(words, refused(server, changed(settings)))


def test_an_adapter_of_another_base_is_refused_by_shape(server: Server, changed: Callable[..., Path]) -> None:
    wider = changed(tensors=lambda tensors: {name: tensor.repeat(1, 2) for name, tensor in tensors.items()})
    assert "the base model takes" in refused(server, wider)


def test_an_adapter_of_more_layers_is_refused(server: Server, changed: Callable[..., Path]) -> None:
    deeper = changed(tensors=lambda tensors: {name.replace("layers.1.", "layers.7."): tensor for name, tensor in tensors.items()})
    assert "lacks" in refused(server, deeper)


def test_weights_that_are_no_numbers_are_refused(server: Server, changed: Callable[..., Path]) -> None:
    broken = changed(tensors=lambda tensors: {name: tensor / 0 for name, tensor in tensors.items()})
    assert "no numbers" in refused(server, broken)


def test_an_adapter_trained_behind_another_template_is_refused(server: Server, changed: Callable[..., Path]) -> None:
    other = changed()
    contract = {"tokenizerDigest": "sha256:" + "1" * 64, "chatTemplateDigest": "sha256:" + "2" * 64}
    (other / "finetune.json").write_text(json.dumps({"weights": "Adapter", "template": contract}))
    assert "chatTemplateDigest" in refused(server, other)


def test_an_adapter_as_our_trainer_publishes_it_is_served(
    server: Server, tiny_base: Path, changed: Callable[..., Path], run_spec: Callable[..., Any]
) -> None:
    """Its tokenizer files and contract are the trainer's own; one byte of a difference is refused."""
    from transformers import AutoTokenizer

    from finetune_trainer.artifact.contents import TOKENIZER_FILES
    from finetune_trainer.artifact.facts import artifact_facts

    published = changed()
    for name in TOKENIZER_FILES:
        if (tiny_base / name).exists():
            shutil.copyfile(tiny_base / name, published / name)

    def facts() -> str:
        tokenizer = AutoTokenizer.from_pretrained(str(published))
        return str(artifact_facts(run_spec(), published, tiny_base, tokenizer, "sha256:" + "0" * 64, adapter=True).to_json())

    (published / "finetune.json").write_text(facts())
    assert server.load("published", published).status == 200
    assert server.unload("published").status == 200
    (published / "tokenizer_config.json").write_text((published / "tokenizer_config.json").read_text() + " ")
    (published / "finetune.json").write_text(facts())
    assert "tokenizerDigest" in refused(server, published)


def test_slots_are_counted(server: Server, adapters: dict[str, Path]) -> None:
    names = [f"slot-{number}" for number in range(12 - len(adapters))]
    try:
        for name in names:
            assert server.load(name, adapters["lora"]).status == 200
        reply = server.load("one-more", adapters["lora"])
        assert reply.status == 400
        assert "all 12 adapter slots are taken" in reply.error["message"]
    finally:
        assert {server.unload(name).status for name in names} == {200}
    assert server.load("one-more", adapters["lora"]).status == 200
    assert server.unload("one-more").status == 200


def test_an_adapter_whose_numbers_overflow_fails_alone(server: Server, changed: Callable[..., Path]) -> None:
    """Its rows end with an error, and rows that take their place later are not touched."""
    calm: Any = {"model": "base", "prompt": "hello", "max_tokens": 24, "temperature": 0, "ignore_eos": True}
    expected = server.ask("/v1/completions", calm).json["choices"][0]["text"]
    assert server.load("hot", changed(tensors=lambda tensors: {name: tensor * 1e30 for name, tensor in tensors.items()})).status == 200
    try:
        with ThreadPoolExecutor(8) as clients:
            replies = list(clients.map(lambda model: server.ask("/v1/completions", {**calm, "model": model}), ["base", "hot"] * 8))
        assert {reply.status for reply in replies[1::2]} == {500}
        assert {reply.json["choices"][0]["text"] for reply in replies[::2]} == {expected}
        assert replies[1].error["message"] == "the model's output is not a number"
    finally:
        assert server.unload("hot").status == 200


def test_what_is_in_flight_finishes_before_its_adapter_goes(server: Server, adapters: dict[str, Path], openai: Any) -> None:
    assert server.load("leaving", adapters["dora"]).status == 200
    asked: Any = {"model": "leaving", "prompt": "hi", "max_tokens": 900, "temperature": 0, "extra_body": {"ignore_eos": True}}
    whole = openai.completions.create(**asked).choices[0].text
    stream = iter(openai.completions.create(**asked, stream=True))
    text = next(stream).choices[0].text
    with ThreadPoolExecutor(1) as admin:
        unloading = admin.submit(server.unload, "leaving")
        until(lambda: "leaving" not in server.models(), "the name is gone")
        assert not unloading.done()
        assert server.ask("/v1/completions", {"model": "leaving", "prompt": "x"}).status == 404
        # The name is free again, for other weights, while the old ones still answer.
        assert server.load("leaving", adapters["ia3"]).status == 200
        text += "".join(chunk.choices[0].text for chunk in stream)
        assert unloading.result(GUARD).status == 200
    assert text == whole
    assert server.unload("leaving").status == 200


def test_adapters_that_come_and_go_leave_nothing_behind(server: Server, adapters: dict[str, Path]) -> None:
    calm: Any = {"model": "base", "prompt": "hello", "max_tokens": 16, "temperature": 0}
    expected = server.ask("/v1/completions", calm).json["choices"]
    kinds = ["lora", "dora", "ia3", "prefix"]
    settled = 0
    most = 12 - len(adapters)
    for number in range(ADAPTERS * ROUNDS // most):
        names = [f"guest-{number}-{place}" for place in range(most)]
        for place, name in enumerate(names):
            assert server.load(name, adapters[kinds[place % len(kinds)]]).status == 200
            assert server.ask("/v1/completions", {**calm, "model": name}).status == 200
        for name in names:
            assert server.unload(name).status == 200
        if number == 2:
            settled = server.resident_kilobytes()
    grown = server.resident_kilobytes() - settled
    assert grown < 12_000, f"{grown} KB after {ADAPTERS * ROUNDS} loads"
    assert set(server.models()) == {"base", *adapters}
    assert b"guest" not in server.ask("/metrics").body
    assert server.ask("/v1/completions", calm).json["choices"] == expected
