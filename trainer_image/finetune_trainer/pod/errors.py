"""How a step says that it cannot go on: one exception type per exit code, each with reason, message and next action.

The command line turns them into the exit code and the termination message; anything else that escapes is an internal error (exit 1).
Messages name fields, files and row numbers, never the text of a row.
"""

from typing import ClassVar

from finetune_trainer.contract import ExitCode, Refusal
from finetune_trainer.contract.model import BaseModelFindings


class StepError(Exception):
    """A step ends early. ``reason`` is CamelCase, ``hint`` says what to do next."""

    exit_code: ClassVar[ExitCode] = ExitCode.INTERNAL

    def __init__(self, reason: str, message: str, hint: str = "") -> None:
        super().__init__(f"{reason}: {message}")
        self.reason = reason
        self.message = message
        self.hint = hint


class ConfigurationError(StepError):
    """The run spec asks for something that cannot be: a person must change the FineTuneJob."""

    exit_code = ExitCode.CONFIGURATION


class DataError(StepError):
    """The dataset cannot be used: a person must change the data or its format."""

    exit_code = ExitCode.DATA


class ModelError(StepError):
    """The base model cannot be used as given."""

    exit_code = ExitCode.MODEL


class UnsafeModelError(ModelError):
    """The base model is not loaded, because that would run code that lies beside its weights; ``findings`` says what was found."""

    def __init__(self, reason: str, message: str, hint: str, findings: BaseModelFindings) -> None:
        super().__init__(reason, message, hint)
        self.findings = findings


class OutOfMemoryError(StepError):
    """Host or device memory did not suffice; fewer examples per forward pass may."""

    exit_code = ExitCode.OUT_OF_MEMORY


class DivergedError(StepError):
    """Training ran away; the same settings would run away again."""

    exit_code = ExitCode.DIVERGED


class StorageError(StepError):
    """A volume or the network failed: trying again may help."""

    exit_code = ExitCode.STORAGE


class NotContainedError(StepError):
    """The pod is not shut in as its policies ask: nothing else may happen in it."""

    exit_code = ExitCode.NOT_CONTAINED


class DeniedError(StepError):
    """The pod's own decision is that nothing may begin in it, or it cannot decide; ``refusals`` are the rules that say so."""

    exit_code = ExitCode.DENIED

    def __init__(self, reason: str, message: str, hint: str, refusals: tuple[Refusal, ...] = ()) -> None:
        super().__init__(reason, message, hint)
        self.refusals = refusals


class Stopped(StepError):
    """Asked to stop, with everything sealed that can be resumed from."""

    exit_code = ExitCode.STOPPED
