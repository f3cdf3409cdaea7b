"""Base against tuned on the same held-out items, with paired intervals and a gate.

``evaluate`` and the candidates need torch, the checks of a run spec do not: the former are imported when they are first asked for, so that
``finetune-trainer validate`` stays quick.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from finetune_trainer.evaluation.metrics import metrics_for, read_output_schema

if TYPE_CHECKING:
    from finetune_trainer.evaluation.candidates import AdapterCandidate, Candidate, FullCandidate
    from finetune_trainer.evaluation.measurement import evaluate

__all__ = ["AdapterCandidate", "Candidate", "FullCandidate", "evaluate", "metrics_for", "read_output_schema"]

_HOME = {"evaluate": "measurement", "AdapterCandidate": "candidates", "Candidate": "candidates", "FullCandidate": "candidates"}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
