"""A training and the tracker that it logs to: a real trainer, and a real MLflow server."""

import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from finetune_trainer.pod.mlflow import MlflowServer
from finetune_trainer.pod.tracker import Described, TrackerError
from tests.process.conftest import Interruption, Run
from tests.process.mlflow_server import MlflowProcess, mlflow_server

STEPS = 30
SECTIONS: dict[str, Any] = {
    "training": {
        "max_steps": STEPS,
        "batch_size": 4,
        "micro_batch_size": 2,
        "learning_rate": "2e-3",
        "evaluate_every_steps": 10,
        "extra_arguments": {"adam_beta2": 0.98},
    },
    "evaluation": {"metrics": ["Perplexity"], "max_items": 4},
    "checkpoint": {"every_seconds": 1, "keep": 2},
}
TEXT = "my router shows error code 3"
"""What the items of `new_run` ask."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowProcess]:
    with mlflow_server(tmp_path_factory.mktemp("tracked") / "mlflow") as made:
        yield made


def test_all_attempts_of_a_run_are_one_run_of_the_tracker_without_a_word_of_the_data(
    server: MlflowProcess, new_run: Callable[..., Run], tmp_path: Path
) -> None:
    run = new_run("tracked", **SECTIONS, tracking={"uri": f"{server.uri}/", "experiment": "ns/tickets"})
    stopped = run.start(interruption=Interruption((signal.SIGTERM,), 0.3, tracked=True))
    assert stopped.wait() == 75, stopped.errors()
    (known,) = server.runs("ns/tickets")
    told = stopped.message()
    assert told.tracker is not None
    assert told.tracker.run_id == known["info"]["run_id"]
    if told.tracker.trouble is None:  # on a machine that is too busy its pod leaves without having told all
        assert known["info"]["status"] == "KILLED"
        assert max(point["step"] for point in server.history(known, "train/loss")) == told.last_step
    killed = run.start(interruption=Interruption((signal.SIGKILL,), event="tracked"))
    assert killed.wait() == -signal.SIGKILL
    assert server.runs("ns/tickets")[0]["info"]["status"] == "RUNNING"
    summary = run.finish()
    (tracked,) = server.runs("ns/tickets")
    assert tracked["info"]["run_id"] == known["info"]["run_id"]
    assert tracked["info"]["status"] == "FINISHED"
    assert _of(tracked, "tags")["finetune.artifact_digest"] == summary.adapter_digest
    server.ask("runs/update", {"run_id": tracked["info"]["run_id"], "status": "RUNNING"})  # as if the pod had been lost before it said so
    run.finish()
    (tracked,) = server.runs("ns/tickets")
    assert tracked["info"]["status"] == "FINISHED"
    _assert_every_figure(server, tracked, summary.evaluation.metrics[0].tuned)
    tags = _of(tracked, "tags")
    assert (tags["finetune.namespace"], tags["finetune.job"], tags["finetune.run_number"]) == ("ns", "tickets", "1")
    assert tags["finetune.dataset_digest"].startswith("sha256:")
    settings = _of(tracked, "params")
    assert float(settings["learning_rate"]) == 2e-3
    expected = {"batch_size": "4", "tuner.type": "LoRA", "tuner.lora.rank": "4", "extra.adam_beta2": "0.98", "adam_beta2": "0.98"}
    assert expected.items() <= settings.items()
    stored = server.stored()
    assert b"finetune.artifact_digest" in stored  # it is looked for where it would be
    for secret in (TEXT, str(tmp_path), str(run.spec.base_model.path), "pvc://data"):
        assert secret.encode() not in stored


def _of(run: dict[str, Any], what: str) -> dict[str, str]:
    return {each["key"]: each["value"] for each in run["data"][what]}


def _assert_every_figure(server: MlflowProcess, run: dict[str, Any], perplexity: str) -> None:
    for metric in ("train/loss", "train/learning_rate"):
        assert sorted(point["step"] for point in server.history(run, metric)) == list(range(1, STEPS + 1))
    assert {point["step"] for point in server.history(run, "validation/loss")} == {10, 20, 30}
    (tuned,) = server.history(run, "evaluation/Perplexity/tuned")
    assert tuned["value"] == pytest.approx(float(perplexity))


def test_a_server_that_was_not_told_its_name_is_no_matter_of_credentials(server: MlflowProcess, tmp_path: Path) -> None:
    with pytest.raises(TrackerError, match=r"its --allowed-hosts must list it"):
        MlflowServer(f"http://127.1:{server.port}", tmp_path).begin(Described("x", "x", "x", {}), 0)


def test_a_tracker_that_nobody_runs_changes_nothing_but_a_word_about_it(new_run: Callable[..., Run]) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # and does not listen
        uri = f"http://127.0.0.1:{closed.getsockname()[1]}"
        run = new_run("untracked", **SECTIONS, tracking={"uri": uri, "experiment": "x"})
        attempt = run.start()
        assert attempt.wait() == 0, attempt.errors()
    told = attempt.message()
    assert told.tracker is not None
    assert told.tracker.trouble == "no connection: ConnectError"
    assert told.tracker.lost > STEPS
    assert told.summary is not None
    assert told.summary.train is not None
    (warning,) = attempt.events("warning")
    assert warning["reason"] == "TrackerUnreachable"
    assert told.summary.train.adapter_digest == new_run("plain", **SECTIONS).finish().adapter_digest
