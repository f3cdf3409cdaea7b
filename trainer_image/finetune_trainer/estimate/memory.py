"""How much memory a training step takes at its peak: a closed formula over the shapes, with its terms named.

Bytes; t = tokens in a forward pass (rows times the longest row), h hidden width, i MLP width, L layers, V vocabulary, kv = key/value heads
÷ heads. A layer keeps for its backward pass about (8 + 4·kv)·h + 4·i numbers per token when its weights learn and (6 + 4·kv)·h + 4·i when
they are frozen; an adapter of rank r adds what its own small matrices see. The head keeps logits, their softmax and its gradient.
tests/performance/memory_estimate.py measures processes and holds this formula to 15 % of them.
"""

from dataclasses import dataclass

from finetune_trainer.contract import Lora, TunerType
from finetune_trainer.estimate.shape import ModelShape

NF4_BYTES = 0.516
"""Bytes per weight in NF4 with double quantization, its constants included (QLoRA, arXiv:2305.14314, section 3)."""
ADAM_BYTES = 8
"""Two float32 moments per trained weight."""

SMALL_BLOCKS = 12 << 20
"""Everything too small to be counted: buffers, graph nodes, the pages between them."""


@dataclass(frozen=True)
class Workload:
    """One forward and backward pass: ``rows`` of ``length`` tokens, with ``activation_bytes`` and ``weight_bytes`` per number."""

    rows: int
    length: int
    checkpointing: bool
    activation_bytes: int = 4
    weight_bytes: int = 4
    padded: bool = False
    """Whether rows differ in length: where several share a pass, attention gets a mask, and keys and values are repeated for every head."""
    packed: bool = False
    """Whether rows lie end to end in one sequence, kept apart by a mask over all of it."""
    maps_weights: bool = False
    """Whether frozen weights can stay mapped: on a CPU, when the file holds them in the type they are computed in."""

    @property
    def tokens(self) -> int:
        return self.rows * self.length


@dataclass(frozen=True)
class Method:
    """How the weights learn."""

    tuner: TunerType
    lora: Lora

    @property
    def full(self) -> bool:
        return self.tuner is TunerType.FULL

    @property
    def quantized(self) -> bool:
        return self.tuner is TunerType.QLORA


@dataclass(frozen=True)
class Peak:
    """Bytes by part; ``total`` is the growth of a process over its state after imports."""

    weights: int
    optimizer: int
    passes: int
    mapped: int = 0
    """Weights that stay mapped from their file: the kernel may drop and read them again, at the price of speed."""

    @property
    def total(self) -> int:
        """Anonymous memory: what cannot be dropped."""
        return self.weights + self.optimizer + self.passes

    @property
    def working_set(self) -> int:
        return self.total + self.mapped


def trainable(shape: ModelShape, method: Method) -> int:
    """How many numbers learn."""
    if method.full:
        return shape.parameters
    adapted = shape.adapted(method.lora)
    count = sum(method.lora.rank * (linear.inputs + linear.outputs) for linear in adapted)
    return count + (sum(linear.outputs for linear in adapted) if method.tuner is TunerType.DORA else 0)


def peak_memory(shape: ModelShape, method: Method, work: Workload) -> Peak:
    """The largest sum of what lives at the same time in a step."""
    learning = trainable(shape, method)
    unquantized = shape.parameters - (shape.linear_parameters if method.quantized else 0)
    packed = shape.linear_parameters * NF4_BYTES if method.quantized else 0.0
    mapped = unquantized * work.weight_bytes if work.maps_weights and not method.full else 0
    adapter = 0 if method.full else 4 * learning
    weights = packed + unquantized * work.weight_bytes - mapped + adapter

    layer = _layer(shape, method, work)
    transient = _transient(shape, method)
    ends = 6 * work.tokens * shape.hidden * work.activation_bytes  # embeddings, last norm, and the gradients between the layers
    head = 3 * work.tokens * shape.vocabulary * work.activation_bytes
    if work.checkpointing:
        kept = shape.layers * work.tokens * shape.hidden * work.activation_bytes
        passes = kept + ends + max(layer + transient, head)
    else:
        passes = shape.layers * layer + ends + max(head, transient)
    largest = shape.largest_tensor if method.full else _largest_adapter(shape, method)
    update = 4 * learning + 4 * largest + (layer if work.checkpointing else 0)
    return Peak(int(weights), ADAM_BYTES * learning, int(max(passes, update)) + SMALL_BLOCKS, int(mapped))


def _largest_adapter(shape: ModelShape, method: Method) -> int:
    return max((method.lora.rank * max(linear.inputs, linear.outputs) for linear in shape.adapted(method.lora)), default=0)


def _layer(shape: ModelShape, method: Method, work: Workload) -> float:
    """What one layer keeps for its backward pass."""
    kv = shape.kv_heads / shape.heads
    if method.full:
        per_token = (8 + 4 * kv) * shape.hidden + 4 * shape.intermediate
    else:
        per_token = (6 + 4 * kv) * shape.hidden + 4 * shape.intermediate + 7 * method.lora.rank
    if method.tuner is TunerType.DORA:  # the magnitude scales two results per linear layer, and both are kept for its gradient
        per_token += 2 * sum(linear.outputs for linear in shape.adapted(method.lora)) / shape.layers
    if not method.full and float(method.lora.dropout) > 0:  # mask and result per linear layer, where else layers share their inputs
        inputs = sum(linear.inputs for linear in shape.adapted(method.lora)) / shape.layers
        per_token += 2 * inputs - min(inputs, 3 * shape.hidden + shape.intermediate)
    mask = 0
    if work.packed or (work.padded and work.rows > 1):
        per_token += 2 * (1 - kv) * shape.hidden
        mask = work.tokens**2 if work.packed else work.rows * work.length**2
    return (per_token * work.tokens + mask) * work.activation_bytes


def _transient(shape: ModelShape, method: Method) -> float:
    """What one linear layer needs for a moment.

    Four-bit weights are unpacked; DoRA multiplies its adapter out through an identity matrix, adds it to the weights and takes the norm.
    """
    if method.quantized:
        return 4 * max(linear.weights for linear in shape.linears)
    if method.tuner is TunerType.DORA:
        return 4 * max((linear.inputs**2 + 3 * linear.weights for linear in shape.adapted(method.lora)), default=0)
    return 0
