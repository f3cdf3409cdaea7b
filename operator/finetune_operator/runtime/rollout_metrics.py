"""What is exposed about rollouts: nothing of it exists in a process that does not look after them."""

from collections.abc import Iterable
from typing import Final

from prometheus_client import Counter, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from finetune_operator.runtime.metrics import Metrics

_ROLLOUT: Final = (60.0, 300.0, 900.0, 1800.0, 3600.0, 7200.0, 14400.0, 43200.0, 86400.0, 259200.0)
_TAKE_BACK: Final = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0)


class RolloutMetrics(Collector):
    """Implements `finetune_operator.control.rollout.measures.RolloutMeasures`; the gauges that name a deployment exist while it does."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        at = metrics.registry
        self._ended = Counter("finetune_rollouts_total", "Ended rollouts by outcome.", ["namespace", "outcome"], registry=at)
        self._seconds = Histogram(
            "finetune_rollout_duration_seconds",
            "From the start of a rollout to its end.",
            ["namespace", "outcome"],
            buckets=_ROLLOUT,
            registry=at,
        )
        self._back = Histogram(
            "finetune_rollout_take_back_seconds",
            "From the decision to take a canary back until every router has acknowledged it.",
            ["namespace"],
            buckets=_TAKE_BACK,
            registry=at,
        )
        self._reads = Counter("finetune_rollout_pod_reads_total", "Questions to routers and servers.", ["role", "result"], registry=at)
        self._scraped = Counter("finetune_rollout_prometheus_reads_total", "Questions to Prometheus.", ["result"], registry=at)
        self._probes = Counter("finetune_rollout_probes_total", "Requests of the operator's own.", ["result"], registry=at)
        self._pushes = Counter("finetune_engine_pushes_total", "Steps asked of engines of the user's own.", ["step", "result"], registry=at)
        self._stages: dict[tuple[str, str], str] = {}
        at.register(self)

    def reconciled(self, result: str, seconds: float) -> None:
        self._metrics.reconciled(result, seconds, "AdapterDeployment")

    def rollout_ended(self, namespace: str, outcome: str, seconds: float) -> None:
        self._ended.labels(namespace, outcome).inc()
        self._seconds.labels(namespace, outcome).observe(seconds)

    def taken_back(self, namespace: str, seconds: float) -> None:
        self._back.labels(namespace).observe(seconds)

    def event_recorded(self, result: str) -> None:
        self._metrics.event_recorded(result)

    def pod_read(self, role: str, result: str) -> None:
        self._reads.labels(role, result).inc()

    def prometheus_read(self, result: str) -> None:
        self._scraped.labels(result).inc()

    def probe_sent(self, result: str) -> None:
        self._probes.labels(result).inc()

    def pushed(self, step: str, result: str) -> None:
        """A load, a proof or an unload has ended; ``result`` is ok or failed."""
        self._pushes.labels(step.lower(), result).inc()

    def stage_is(self, namespace: str, name: str, stage: str) -> None:
        if stage:
            self._stages[namespace, name] = stage
        else:
            self._stages.pop((namespace, name), None)

    def forgotten(self, namespace: str, name: str) -> None:
        self._stages.pop((namespace, name), None)

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """Told by the leader alone: followers know the same."""
        text = "1 for the stage of each rollout under way."
        family = GaugeMetricFamily("finetune_rollout_stage", text, labels=["namespace", "name", "stage"])
        for (namespace, name), stage in self._stages.items() if self._metrics.leads() else ():
            family.add_metric((namespace, name, stage), 1.0)
        yield family
