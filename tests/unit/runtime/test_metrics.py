"""The exposition keeps Prometheus' conventions, and finished runs add no series."""

import re
import shutil
import subprocess
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from finetune_operator.cluster.cache import Key
from finetune_operator.control.rollout.measures import measure as measure_rollout
from finetune_operator.control.transitions import measure
from finetune_operator.runtime.metrics import Metrics
from finetune_operator.runtime.rollout_metrics import RolloutMetrics

KEY = Key("ns", "a")


def status(number: int, outcome: str = "Succeeded", verdict: str = "Pass") -> dict[str, object]:
    ended = f"2026-11-22T10:{number % 60:02d}:00Z"
    entry = {"number": number, "outcome": outcome, "reason": "RunSucceeded", "startedAt": "2026-11-22T09:00:00Z", "finishedAt": ended}
    return {"history": [entry], "evaluation": {"verdict": verdict, "items": number}, "currentRun": {"key": "k", "number": number}}


def everything() -> Metrics:
    """A registry in which every metric has a value."""
    metrics = Metrics()
    metrics.reconciled("ok", 0.01)
    metrics.waited(0.001)
    metrics.retried()
    metrics.requested("create", "jobs", 201, 0.02)
    metrics.watch_restarted("jobs", "expired")
    metrics.event_recorded("written")
    metrics.progress_read("ok")
    metrics.run_retried("ns", "train", "preemptions")
    metrics.first_step("ns", 20.0)
    metrics.admitted("ns", 3.0)
    metrics.occupied("ns", "gpu-a100", 120.0)
    metrics.artifact("ns", "a", 4096)
    metrics.gauge("finetune_list_age_seconds", "Seconds since the last complete list; -1 before the first.", lambda: 3.0, resource="jobs")
    metrics.gauge("finetune_leader", "1 while this process may write.", lambda: 1.0)
    metrics.gauge("finetune_cache_objects", "Objects in memory.", lambda: 3, resource="jobs")
    metrics.gauge("finetune_cache_objects", "Objects in memory.", lambda: 5, resource="pods")
    measure(metrics, KEY, {}, status(1), {})
    rollouts = RolloutMetrics(metrics)
    rollouts.reconciled("ok", 0.01)
    rollouts.rollout_ended("ns", "Promoted", 900.0)
    rollouts.taken_back("ns", 1.5)
    rollouts.pod_read("router", "ok")
    rollouts.probe_sent("ok")
    rollouts.stage_is("ns", "bot", "Baking")
    return metrics


def series(metrics: Metrics) -> set[tuple[str, tuple[tuple[str, str], ...]]]:
    families = text_string_to_metric_families(metrics.render().decode())
    return {(sample.name, tuple(sorted(sample.labels.items()))) for family in families for sample in family.samples}


def test_every_name_has_the_prefix_a_unit_and_a_help_text() -> None:
    for family in text_string_to_metric_families(everything().render().decode()):
        assert family.name.startswith(("finetune_", "process_"))
        assert family.documentation
        if family.type == "histogram":
            assert family.name.endswith("_seconds")


def test_finished_runs_add_no_series() -> None:
    metrics = everything()
    for number in range(2, 4):
        measure(metrics, KEY, status(number - 1), status(number), {})
    before = series(metrics)
    for number in range(4, 500):
        measure(metrics, KEY, status(number - 1), status(number), {})
    assert series(metrics) == before
    assert metrics.registry.get_sample_value(
        "finetune_runs_total", {"namespace": "ns", "outcome": "Succeeded", "reason": "RunSucceeded"}
    ) == 499  # fmt: skip


def test_the_series_of_a_job_go_with_the_job() -> None:
    metrics = everything()
    assert metrics.registry.get_sample_value("finetune_last_success_timestamp_seconds", {"namespace": "ns", "name": "a"})
    metrics.forgotten("ns", "a")
    assert metrics.registry.get_sample_value("finetune_last_success_timestamp_seconds", {"namespace": "ns", "name": "a"}) is None


def test_a_retry_is_counted_by_its_cause() -> None:
    metrics = Metrics()
    run = {"key": "k", "number": 1, "activeStep": "train"}
    before = {"currentRun": {**run, "retries": {"preemptions": 1}}}
    after = {"currentRun": {**run, "retries": {"preemptions": 2, "outOfMemory": 1}}}
    measure(metrics, KEY, before, after, {})
    for cause in ("preemptions", "outOfMemory"):
        assert metrics.registry.get_sample_value("finetune_run_retries_total", {"namespace": "ns", "step": "train", "cause": cause}) == 1


def test_a_follower_knows_the_jobs_and_leaves_the_telling_to_the_leader() -> None:
    metrics, labels = everything(), {"namespace": "ns", "name": "a"}
    metrics.leads = lambda: False
    for name in ("finetune_last_success_timestamp_seconds", "finetune_artifact_bytes"):
        assert metrics.registry.get_sample_value(name, labels) is None
        metrics.leads = lambda: True
        assert metrics.registry.get_sample_value(name, labels)
        metrics.leads = lambda: False


def test_every_metric_of_the_operator_is_in_the_reference() -> None:
    root = Path(__file__).resolve().parents[3]
    documented = set(re.findall(r"`(finetune_[a-z_]+)`", (root / "docs/reference/metrics.md").read_text(encoding="utf-8")))
    sources = (root / "operator/finetune_operator/runtime").glob("*.py")
    named = {name for path in sources for name in re.findall(r'"(finetune_[a-z_]+)"', path.read_text(encoding="utf-8"))}
    assert {name for name in named - documented if name != "finetune_operator"} == set()
    assert {name for name in documented - named if not name.startswith("finetune_trainer_")} == set()


def test_every_budget_of_a_run_is_counted() -> None:
    metrics = Metrics()
    run = {"key": "k", "number": 1, "activeStep": "publish"}
    causes = {"infrastructure", "outOfMemory", "hostOutOfMemory", "storage", "internal", "lostMessages", "preemptions"}
    measure(metrics, KEY, {"currentRun": run}, {"currentRun": {**run, "retries": dict.fromkeys(causes, 1)}}, {})
    for cause in causes:
        assert metrics.registry.get_sample_value("finetune_run_retries_total", {"namespace": "ns", "step": "publish", "cause": cause}) == 1


def test_admission_and_accelerator_time_are_told_once() -> None:
    metrics, spec = Metrics(), {"resources": {"gpusPerNode": 4}, "queueName": "gpu-a100"}
    run = {"key": "k", "number": 1, "activeStep": "train", "startedAt": "2026-11-22T10:00:00Z"}
    admitted = {"type": "Admitted", "status": "True", "reason": "Admitted", "lastTransitionTime": "2026-11-22T10:00:40Z"}
    statuses = [
        {"currentRun": run},
        {"currentRun": run, "conditions": [admitted]},
        {"currentRun": {**run, "runningSeconds": 50}, "conditions": [admitted]},
        {"currentRun": {**run, "activeStep": "publish", "runningSeconds": 80}, "conditions": [admitted]},
        {"currentRun": {**run, "activeStep": "publish", "runningSeconds": 90}, "conditions": [admitted], "artifact": {"bytes": 4096}},
    ]
    for before, after in pairwise(statuses):
        measure(metrics, KEY, before, after, spec)
    value = metrics.registry.get_sample_value
    assert value("finetune_run_time_to_admission_seconds_sum", {"namespace": "ns"}) == 40
    assert value("finetune_run_time_to_admission_seconds_count", {"namespace": "ns"}) == 1
    assert value("finetune_gpu_seconds_total", {"namespace": "ns", "queue": "gpu-a100"}) == 4 * 80
    assert value("finetune_artifact_bytes", {"namespace": "ns", "name": "a"}) == 4096


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool (Debian package prometheus) is not installed")
def test_promtool_has_nothing_to_say() -> None:
    promtool = shutil.which("promtool")
    assert promtool
    checked = subprocess.run([promtool, "check", "metrics"], input=everything().render(), capture_output=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_a_rollout_is_counted_once_and_its_stage_goes_with_it() -> None:
    metrics = Metrics()
    rollouts, now = RolloutMetrics(metrics), datetime(2026, 11, 22, 12, 0, 3, tzinfo=UTC)
    entry = {"version": "v", "startedAt": "2026-11-22T11:00:00Z", "endedAt": "2026-11-22T12:00:03Z", "outcome": "RolledBack"}
    back = {"rollout": {"stage": "RollingBack", "stageSince": "2026-11-22T12:00:01Z"}}
    stage = {"namespace": "ns", "name": "a", "stage": "RollingBack"}
    measure_rollout(rollouts, KEY, {"rollout": {"stage": "Baking"}}, back, now)
    assert metrics.registry.get_sample_value("finetune_rollout_stage", stage) == 1
    ended = {"history": [entry]}
    measure_rollout(rollouts, KEY, back, ended, now)
    measure_rollout(rollouts, KEY, ended, ended, now)
    outcome = {"namespace": "ns", "outcome": "RolledBack"}
    assert metrics.registry.get_sample_value("finetune_rollouts_total", outcome) == 1
    assert metrics.registry.get_sample_value("finetune_rollout_duration_seconds_sum", outcome) == 3603
    assert metrics.registry.get_sample_value("finetune_rollout_take_back_seconds_sum", {"namespace": "ns"}) == 2
    assert metrics.registry.get_sample_value("finetune_rollout_stage", stage) is None
    rollouts.stage_is("ns", "a", "Loading")
    metrics.leads = lambda: False
    assert metrics.registry.get_sample_value("finetune_rollout_stage", {**stage, "stage": "Loading"}) is None
