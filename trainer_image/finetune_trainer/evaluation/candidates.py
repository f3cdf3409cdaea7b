"""Base and tuned in one process: an adapter is switched off and on, a fully tuned model stands beside its base.

Both ways hand out a plain transformers model, so that decoding and likelihood know nothing about adapters.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from peft import PeftModel
from transformers import PreTrainedModel


class Candidate(Protocol):
    """A tuned model together with what it was tuned from."""

    def as_base(self) -> AbstractContextManager[PreTrainedModel]:
        """The untouched base model, in evaluation mode."""

    def as_tuned(self) -> AbstractContextManager[PreTrainedModel]:
        """The tuned model, in evaluation mode."""


class AdapterCandidate:
    """An adapter on its base; ``modules_to_save`` are switched together with it."""

    def __init__(self, model: PeftModel) -> None:
        self._model = model

    @contextmanager
    def as_base(self) -> Iterator[PreTrainedModel]:
        with _evaluation_mode(self._model), self._model.disable_adapter():
            yield self._model.get_base_model()

    @contextmanager
    def as_tuned(self) -> Iterator[PreTrainedModel]:
        with _evaluation_mode(self._model):
            yield self._model.get_base_model()


class FullCandidate:
    """A model whose own weights were trained. The base is loaded only while it is needed: two copies may not fit for long."""

    def __init__(self, tuned: PreTrainedModel, load_base: Callable[[], PreTrainedModel]) -> None:
        self._tuned = tuned
        self._load_base = load_base

    @contextmanager
    def as_base(self) -> Iterator[PreTrainedModel]:
        base = self._load_base()
        with _evaluation_mode(base):
            yield base

    @contextmanager
    def as_tuned(self) -> Iterator[PreTrainedModel]:
        with _evaluation_mode(self._tuned):
            yield self._tuned


@contextmanager
def _evaluation_mode(model: PreTrainedModel | PeftModel) -> Iterator[None]:
    """No dropout and a key-value cache inside; afterwards as it was, because training may go on."""
    training, cache = model.training, model.config.use_cache
    model.eval()
    model.config.use_cache = True
    try:
        yield
    finally:
        model.config.use_cache = cache
        model.train(training)
