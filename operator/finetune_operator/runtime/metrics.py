"""Everything this operator exposes to Prometheus, in one place, so that names, units and labels are decided once.

The number of series does not grow with finished runs: counters and histograms carry a namespace at most; the gauges that name a
FineTuneJob exist only while it does.
"""

import platform
from collections.abc import Callable, Iterable
from importlib.metadata import version
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

_FAST: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_RUN: Final = (60.0, 300.0, 900.0, 1800.0, 3600.0, 7200.0, 14400.0, 43200.0, 86400.0, 259200.0)
_START: Final = (5.0, 15.0, 30.0, 60.0, 120.0, 300.0, 900.0, 3600.0, 14400.0)


class Metrics:
    """The registry of one process; implements `finetune_operator.control.measures.Measures` and the queue's metrics."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._families: dict[str, Gauge] = {}
        ProcessCollector(registry=self.registry)
        at = self.registry
        self._build = Gauge("finetune_build_info", "Version of the operator; always 1.", ["version", "python"], registry=at)
        self._build.labels(version("finetune-operator"), platform.python_version()).set(1)
        self._reconciles = Counter("finetune_reconcile_total", "Reconciles by kind and result.", ["kind", "result"], registry=at)
        self._reconcile_seconds = Histogram("finetune_reconcile_seconds", "Duration of a reconcile.", ["kind"], buckets=_FAST, registry=at)
        self._queue_latency = Histogram(
            "finetune_queue_latency_seconds", "Time from the wish for a reconcile to its start.", buckets=_FAST, registry=at
        )
        self._queue_retries = Counter("finetune_queue_retries_total", "Reconciles repeated after a failure.", registry=at)
        self._requests = Counter(
            "finetune_api_requests_total", "Requests to the API server; code 0 had no answer.", ["verb", "resource", "code"], registry=at
        )
        self._request_seconds = Histogram(
            "finetune_api_request_seconds",
            "Duration of requests to the API server, watches excepted.",
            ["verb"],
            buckets=_FAST,
            registry=at,
        )
        self._restarts = Counter("finetune_watch_restarts_total", "Watches opened again.", ["resource", "reason"], registry=at)
        self._events = Counter("finetune_events_total", "Kubernetes Events by what became of them.", ["result"], registry=at)
        self._progress = Counter("finetune_progress_reads_total", "Questions to training pods by result.", ["result"], registry=at)
        self._runs = Counter("finetune_runs_total", "Ended runs.", ["namespace", "outcome", "reason"], registry=at)
        self._run_seconds = Histogram(
            "finetune_run_duration_seconds", "From the start of a run to its end.", ["namespace", "outcome"], buckets=_RUN, registry=at
        )
        self._first_step_seconds = Histogram(
            "finetune_run_time_to_first_step_seconds",
            "From the start of a run to its first training step.",
            ["namespace"],
            buckets=_START,
            registry=at,
        )
        self._admission_seconds = Histogram(
            "finetune_run_time_to_admission_seconds",
            "From the start of a run to the admission of its train step.",
            ["namespace"],
            buckets=_START,
            registry=at,
        )
        self._gpu_seconds = Counter(
            "finetune_gpu_seconds_total", "Accelerators times seconds of ended train attempts.", ["namespace", "queue"], registry=at
        )
        self._retries = Counter(
            "finetune_run_retries_total", "Attempts repeated, by step and cause.", ["namespace", "step", "cause"], registry=at
        )
        self._verdicts = Counter("finetune_gate_verdicts_total", "Verdicts of evaluations.", ["namespace", "verdict"], registry=at)
        self._decisions = Counter(
            "finetune_governance_decisions_total", "Decisions of governance that were news, by stage.", ["stage", "outcome"], registry=at
        )
        self._findings = Counter(
            "finetune_governance_findings_total",
            "Findings that were not there before; effect is blocks, audit or told.",
            ["rule", "effect"],
            registry=at,
        )
        self._records = Counter(
            "finetune_records_total", "Records of governed runs that were asked for.", ["namespace", "result"], registry=at
        )
        self._anchors = Counter("finetune_record_anchors_total", "Heads of chains told to anchors.", ["anchor", "result"], registry=at)
        self.leads: Callable[[], bool] = lambda: True
        """Whether this process speaks for the jobs: a follower knows them too, and two processes that tell would be counted twice."""
        self._success = JobGauge(
            self, "finetune_last_success_timestamp_seconds", "Unix time of the end of the job's newest successful run."
        )
        self._artifact = JobGauge(self, "finetune_artifact_bytes", "Size of the artifact that the job points at.")
        at.register(self._success)
        at.register(self._artifact)

    # Of the control loop.

    def reconciled(self, result: str, seconds: float, kind: str = "FineTuneJob") -> None:
        self._reconciles.labels(kind, result).inc()
        self._reconcile_seconds.labels(kind).observe(seconds)

    def waited(self, seconds: float) -> None:
        self._queue_latency.observe(seconds)

    def retried(self) -> None:
        self._queue_retries.inc()

    def requested(self, verb: str, resource: str, code: int, seconds: float) -> None:
        self._requests.labels(verb, resource, str(code)).inc()
        if verb != "watch":
            self._request_seconds.labels(verb).observe(seconds)

    def watch_restarted(self, resource: str, reason: str) -> None:
        self._restarts.labels(resource, reason).inc()

    def event_recorded(self, result: str) -> None:
        self._events.labels(result).inc()

    def progress_read(self, result: str) -> None:
        self._progress.labels(result).inc()

    # Of the domain.

    def run_finished(self, namespace: str, outcome: str, reason: str, seconds: float | None) -> None:
        self._runs.labels(namespace, outcome, reason).inc()
        if seconds is not None:
            self._run_seconds.labels(namespace, outcome).observe(seconds)

    def run_retried(self, namespace: str, step: str, cause: str) -> None:
        self._retries.labels(namespace, step, cause).inc()

    def first_step(self, namespace: str, seconds: float) -> None:
        self._first_step_seconds.labels(namespace).observe(seconds)

    def admitted(self, namespace: str, seconds: float) -> None:
        self._admission_seconds.labels(namespace).observe(seconds)

    def occupied(self, namespace: str, queue: str, seconds: float) -> None:
        self._gpu_seconds.labels(namespace, queue).inc(seconds)

    def gate_decided(self, namespace: str, verdict: str) -> None:
        self._verdicts.labels(namespace, verdict).inc()

    def governed(self, stage: str, outcome: str) -> None:
        self._decisions.labels(stage, outcome).inc()

    def found(self, rule: str, effect: str) -> None:
        self._findings.labels(rule, effect).inc()

    def recorded(self, namespace: str, result: str) -> None:
        self._records.labels(namespace, result).inc()

    def anchored(self, anchor: str, result: str) -> None:
        self._anchors.labels(anchor, result).inc()

    def succeeded(self, namespace: str, name: str, at: float) -> None:
        self._success.remember(namespace, name, at)

    def artifact(self, namespace: str, name: str, size: int) -> None:
        self._artifact.remember(namespace, name, size)

    def forgotten(self, namespace: str, name: str) -> None:
        self._success.forget(namespace, name)
        self._artifact.forget(namespace, name)

    # Of the process.

    def gauge(self, name: str, documentation: str, read: Callable[[], float], **labels: str) -> None:
        """A gauge whose value is read at each scrape; several calls with one name and other labels make one family."""
        family = self._families.get(name)
        if family is None:
            family = self._families[name] = Gauge(name, documentation, list(labels), registry=self.registry)
        gauge = family.labels(*labels.values()) if labels else family
        gauge.set_function(read)

    def render(self) -> bytes:
        """The exposition in the text format."""
        return generate_latest(self.registry)


class NamespaceGauge(Collector):
    """A gauge with one series for each namespace that ``read`` names; told by the leader."""

    def __init__(self, metrics: Metrics, name: str, documentation: str, read: Callable[[], Iterable[tuple[str, float]]]) -> None:
        self._metrics = metrics
        self._name = name
        self._documentation = documentation
        self._read = read
        metrics.registry.register(self)

    def collect(self) -> Iterable[GaugeMetricFamily]:
        family = GaugeMetricFamily(self._name, self._documentation, labels=["namespace"])
        for namespace, value in self._read() if self._metrics.leads() else ():
            family.add_metric([namespace], value)
        yield family


class JobGauge(Collector):
    """A gauge with one series for each FineTuneJob that exists, such as what an alert on overdue retraining needs; told by the leader."""

    def __init__(self, metrics: Metrics, name: str, documentation: str) -> None:
        self._metrics = metrics
        self._name = name
        self._documentation = documentation
        self._values: dict[tuple[str, str], float] = {}

    def remember(self, namespace: str, name: str, value: float) -> None:
        self._values[namespace, name] = value

    def forget(self, namespace: str, name: str) -> None:
        self._values.pop((namespace, name), None)

    def collect(self) -> Iterable[GaugeMetricFamily]:
        family = GaugeMetricFamily(self._name, self._documentation, labels=["namespace", "name"])
        for labels, value in self._values.items() if self._metrics.leads() else ():
            family.add_metric(labels, value)
        yield family
