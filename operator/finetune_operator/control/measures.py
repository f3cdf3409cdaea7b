"""What the control loop reports about itself, as a protocol: it knows no metrics library."""

from typing import Protocol


class Measures(Protocol):
    """Implemented by `finetune_operator.runtime.metrics.Metrics`."""

    def reconciled(self, result: str, seconds: float) -> None:
        """One reconcile has ended; ``result`` is ok, idle, gone, or the class of an error."""

    def run_finished(self, namespace: str, outcome: str, reason: str, seconds: float | None) -> None:
        """A run has reached its end; ``seconds`` from its start."""

    def run_retried(self, namespace: str, step: str, cause: str) -> None:
        """Another attempt of a step was decided."""

    def first_step(self, namespace: str, seconds: float) -> None:
        """A run has made its first training step, ``seconds`` after its start."""

    def admitted(self, namespace: str, seconds: float) -> None:
        """The train step of a run was admitted, ``seconds`` after the run's start."""

    def occupied(self, namespace: str, queue: str, seconds: float) -> None:
        """A train attempt has ended that held accelerators; ``seconds`` times how many."""

    def artifact(self, namespace: str, name: str, size: int) -> None:
        """The artifact of a job that exists now, in bytes."""

    def gate_decided(self, namespace: str, verdict: str) -> None:
        """An evaluation has a verdict."""

    def governed(self, stage: str, outcome: str) -> None:
        """A decision of governance that differs from the one before was written; ``stage`` is Accept, Start or Promote."""

    def found(self, rule: str, effect: str) -> None:
        """A finding that was not there before; ``effect`` is blocks, audit, or told for a note and for what is waived."""

    def succeeded(self, namespace: str, name: str, at: float) -> None:
        """The last success of a job that exists now, as a Unix time in seconds."""

    def forgotten(self, namespace: str, name: str) -> None:
        """The job is gone: so is every series that names it."""

    def recorded(self, namespace: str, result: str) -> None:
        """A record of a governed run was asked for: written, found where it was before, or refused."""

    def anchored(self, anchor: str, result: str) -> None:
        """The head of a chain was told to an anchor: kept or failed."""

    def event_recorded(self, result: str) -> None:
        """An Event was written, counted or refused."""

    def progress_read(self, result: str) -> None:
        """A pod was asked for its progress."""
