"""Computing in float32 with weights that stay in half precision: each is widened for the operation that needs it, and no longer.

The rounding of activations in bfloat16 moves logits three to five times as far as the rounding of merged weights, which is what a
comparison is to find. Loading the model in float32 would need twice the memory.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map

_HALF = (torch.bfloat16, torch.float16)


class Float32Arithmetic(TorchFunctionMode):  # type: ignore[misc]
    """While it is entered, torch's operations take half-precision tensors as float32 ones; a tensor's ``dtype`` says float32 too."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if getattr(func, "__name__", "") == "__get__":  # an attribute: shapes and the like need no widened copy
            value = func(*args, **(kwargs or {}))
            return torch.float32 if isinstance(value, torch.dtype) and value in _HALF else value
        with torch._C.DisableTorchFunction():
            wide_args, wide_kwargs = tree_map(_widened, tuple(args)), tree_map(_widened, dict(kwargs or {}))
        return func(*wide_args, **wide_kwargs)


def _widened(value: Any) -> Any:
    return value.float() if isinstance(value, torch.Tensor) and value.dtype in _HALF else value
