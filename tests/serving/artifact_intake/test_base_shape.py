"""The dimensions derived from a config are those of the model that the library builds from it."""

import json
from pathlib import Path
from typing import Any

import pytest

from finetune_inference.artifact.base_shape import LLAMA_LIKE, Linear, base_shape

SMALL: dict[str, Any] = {
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 96,
    "pad_token_id": 0,
}


@pytest.mark.parametrize("own_head_size", [False, True], ids=["hidden over heads", "a head size of its own"])
@pytest.mark.parametrize("kind", sorted(LLAMA_LIKE))
def test_every_family_has_the_shapes_the_library_gives_it(kind: str, own_head_size: bool, tmp_path: Path) -> None:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    AutoConfig.for_model(kind, **SMALL, **({"head_dim": 20} if own_head_size else {})).save_pretrained(tmp_path)
    shape = base_shape(json.loads((tmp_path / "config.json").read_text()))
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(tmp_path))
    assert shape is not None
    assert shape.layers == 2
    seen = {}
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear):
            seen[name.rpartition(".")[2]] = Linear(module.in_features, module.out_features)
        elif isinstance(module, torch.nn.Embedding):
            seen[name.rpartition(".")[2]] = Linear(module.num_embeddings, module.embedding_dim)
    assert len(seen) >= 6
    assert {leaf: shape.linears.get(leaf) for leaf in seen} == seen


@pytest.mark.parametrize(
    "config",
    [
        None,
        {},
        {**SMALL, "model_type": "gpt2"},
        {**SMALL, "model_type": "llama", "vision_config": {}},
        {**SMALL, "model_type": "llama", "hidden_size": "48"},
        {**SMALL, "model_type": "gemma2"},
        {**SMALL, "model_type": "qwen2", "num_key_value_heads": None},
    ],
    ids=str,
)
def test_what_a_config_does_not_say_is_not_guessed(config: dict[str, Any] | None) -> None:
    assert base_shape(config) is None


def test_an_old_llama_without_groups_has_as_many_as_heads() -> None:
    shape = base_shape({**SMALL, "model_type": "llama", "num_key_value_heads": None})
    assert shape is not None
    assert shape.linears["k_proj"] == Linear(48, 48)
