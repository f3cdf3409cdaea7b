"""The output schema of a run whose digests are prescribed: whoever may write its ConfigMap does not say what passes the gate."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from finetune_trainer.cli.run import execute
from finetune_trainer.contract import FailureClass, Step
from finetune_trainer.pod.basefiles import file_set_digest
from finetune_trainer.pod.context import Evidence, SealedInputs, StepContext, StepOptions
from finetune_trainer.pod.datamanifest import SCHEMA, seal_data
from finetune_trainer.pod.errors import DataError
from finetune_trainer.pod.events import EventLog, Value
from finetune_trainer.pod.sealing import file_digest
from finetune_trainer.pod.signals import StopFlag
from tests.process.conftest import Run
from tests.process.test_ends import SHORT

ANYTHING = "{}"


@pytest.fixture
def schema(tmp_path: Path) -> Path:
    path = tmp_path / "schema.json"
    path.write_text('{"type": "object", "required": ["queue"]}')
    return path


@pytest.fixture
def agreed(new_run: Callable[..., Run], schema: Path) -> tuple[Run, str]:
    """A run whose rows were sealed together with the schema, and the digest of both."""
    sections: dict[str, Any] = {**SHORT, "evaluation": {"metrics": ["SchemaCompliance"], "max_items": 2}}
    run = new_run("agreed", task={"type": "Format", "output_schema_path": str(schema)}, **sections)
    workspace = run.workspace
    names = [workspace.train_rows.name, workspace.validation_rows.name, workspace.evaluation_items.name]
    return run, seal_data(workspace, names, [], {SCHEMA: file_digest(schema)}).content_digest()


class Loosens(EventLog):
    """Has everything comply, right before the adapter is evaluated."""

    def __init__(self, descriptor: int, schema: Path) -> None:
        super().__init__(1, descriptor)
        self._schema = schema

    def emit(self, event: str, **fields: Value) -> None:
        super().emit(event, **fields)
        if event == "phase" and fields.get("phase") == "Evaluating":
            self._schema.write_text(ANYTHING)


def test_a_schema_that_was_loosened_since_is_told_before_the_training(agreed: tuple[Run, str], schema: Path) -> None:
    run, digest = agreed
    prescribed = ("--data-digest", digest, "--base-digest", file_set_digest(run.workspace.base_model(run.spec)))
    before = schema.read_text()
    schema.write_text(ANYTHING)
    attempt = run.start(*prescribed)
    assert attempt.wait() == 65, attempt.errors()
    message = attempt.message()
    assert (message.outcome, message.reason) == (FailureClass.DATA, "DigestMismatch")
    assert message.message.startswith("spec.task.outputSchema: ")
    assert "Put the ConfigMap back" in message.hint
    assert not attempt.events("training")
    schema.write_text(before)
    run.finish(*prescribed)


def test_one_that_is_loosened_while_the_run_trains_does_not_judge_its_answers(
    agreed: tuple[Run, str], schema: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FINETUNE_PROGRESS_PORT", "0")
    run, digest = agreed
    options = StepOptions(sealed=SealedInputs(digest, file_set_digest(run.workspace.base_model(run.spec))))
    with (tmp_path / "events").open("wb") as file:
        events = Loosens(file.fileno(), schema)
        context = StepContext(run.spec, run.workspace, 1, options, events, StopFlag(), Evidence(), tmp_path / "run.json")
        with pytest.raises(DataError, match=r"spec\.task\.outputSchema") as refused:
            execute(context)
    assert refused.value.reason == "DigestMismatch"
    assert not run.workspace.result(Step.TRAIN).exists()
