"""Rows of one batch with different adapters get what each would get alone."""

import pytest
import torch
from torch import nn

from finetune_inference.server.rows import AdaptedModel, Change, LowRank, Magnitude, Rescale

INPUT, OUTPUT = 6, 5
CPU = torch.device("cpu")


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(INPUT, OUTPUT)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.inner(inputs)


def changes() -> dict[str, Change]:
    torch.manual_seed(1)
    low = LowRank(torch.randn(2, INPUT), torch.randn(OUTPUT, 2))
    return {
        "lora": low,
        "other": LowRank(torch.randn(3, INPUT), torch.randn(OUTPUT, 3)),
        "dora": Magnitude(low, torch.rand(OUTPUT), torch.randn(OUTPUT)),
        "ia3": Rescale(torch.rand(OUTPUT)),
        "ia3-in": Rescale(torch.rand(INPUT), on_input=True),
    }


@pytest.fixture
def adapted() -> AdaptedModel:
    torch.manual_seed(0)
    model = AdaptedModel(Model())
    for name, change in changes().items():
        model.install(name, {"inner": change})
    return model


def answer(adapted: AdaptedModel, names: tuple[str | None, ...], inputs: torch.Tensor) -> torch.Tensor:
    adapted.plan.assign(names, CPU)
    with torch.inference_mode():
        return torch.as_tensor(adapted.model(inputs))


def test_a_mixed_batch_equals_separate_runs(adapted: AdaptedModel) -> None:
    names = ("lora", None, "dora", "ia3", "lora", "ia3-in", "other", None, "dora")
    inputs = torch.randn(len(names), 3, INPUT)
    mixed = answer(adapted, names, inputs)
    for row, name in enumerate(names):
        alone = answer(adapted, (name,), inputs[row : row + 1])
        torch.testing.assert_close(mixed[row : row + 1], alone)
        base = adapted.base_layer("inner")(inputs[row : row + 1])
        assert torch.allclose(alone, base) == (name is None)


def test_each_change_is_the_formula_it_is_named_after(adapted: AdaptedModel) -> None:
    inputs = torch.randn(1, 4, INPUT)
    layer, made = adapted.base_layer("inner"), changes()
    low, dora, ia3, before = made["lora"], made["dora"], made["ia3"], made["ia3-in"]
    assert isinstance(low, LowRank)
    assert isinstance(dora, Magnitude)
    assert isinstance(ia3, Rescale)
    assert isinstance(before, Rescale)
    merged = layer.weight + low.up @ low.down
    torch.testing.assert_close(answer(adapted, ("lora",), inputs), inputs @ merged.T + layer.bias)
    assert dora.bias is not None
    stretched = (layer(inputs) - dora.bias + inputs @ (low.up @ low.down).T) * dora.stretch + dora.bias
    torch.testing.assert_close(answer(adapted, ("dora",), inputs), stretched)
    torch.testing.assert_close(answer(adapted, ("ia3",), inputs), layer(inputs) * ia3.factor)
    torch.testing.assert_close(answer(adapted, ("ia3-in",), inputs), layer(inputs * before.factor))


def test_the_base_models_own_layer_is_back_when_the_last_adapter_has_gone(adapted: AdaptedModel) -> None:
    own = adapted.base_layer("inner")
    for name in changes():
        assert adapted.model.inner is not own
        adapted.remove(name)
    assert adapted.model.inner is own


def test_the_inputs_of_neighbours_are_left_alone(adapted: AdaptedModel) -> None:
    inputs = torch.randn(2, 1, INPUT)
    before = inputs.clone()
    answer(adapted, ("ia3-in", None), inputs)
    assert torch.equal(inputs, before)
