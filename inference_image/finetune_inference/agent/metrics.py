"""What the agent exposes to Prometheus. Series that name a version exist only while the version is wanted."""

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.process_collector import ProcessCollector

from finetune_inference.contract import AgentStatus, VersionState

_SECONDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)


class Metrics:
    """The registry of one agent."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.load_seconds = Histogram(
            "finetune_agent_load_seconds", "One load into the engine that succeeded.", buckets=_SECONDS, registry=self.registry
        )
        self.fetch_seconds = Histogram(
            "finetune_agent_fetch_seconds", "One artifact fetched or found, hashed and checked.", buckets=_SECONDS, registry=self.registry
        )
        self.restore_seconds = Histogram(
            "finetune_agent_restore_seconds", "From seen not ready, or started, to ready.", buckets=_SECONDS, registry=self.registry
        )
        self.failures = Counter("finetune_agent_failures", "Steps that failed, by reason.", ["reason"], registry=self.registry)
        self.repairs = Counter(
            "finetune_agent_audit_repairs", "Loads because a version was gone or replaced.", ["cause"], registry=self.registry
        )
        self.engine_restarts = Counter("finetune_agent_engine_restarts", "Restarts of the engine that were seen.", registry=self.registry)
        self._loaded = Gauge("finetune_agent_version_loaded", "1 if loaded and proven.", ["version"], registry=self.registry)
        self._generation = Gauge("finetune_agent_generation", "Generation in force.", registry=self.registry)
        self._applied = Gauge("finetune_agent_applied_generation", "Last generation that was wholly loaded.", registry=self.registry)
        self._ready = Gauge("finetune_agent_ready", "1 if every required version is loaded and proven.", registry=self.registry)
        self._labels: frozenset[str] = frozenset()

    def begin(self, causes: Iterable[str]) -> None:
        """Every series exists from the start: a rate over a new one would lose its first increment."""
        for cause in causes:
            self.repairs.labels(cause)

    def show(self, status: AgentStatus) -> None:
        names = frozenset(version.name for version in status.versions)
        for gone in self._labels - names:
            self._loaded.remove(gone)
        self._labels = names
        for version in status.versions:
            self._loaded.labels(version.name).set(version.state is VersionState.LOADED)
        self._generation.set(status.generation)
        self._applied.set(status.applied_generation)
        self._ready.set(status.ready)

    def render(self) -> bytes:
        return generate_latest(self.registry)
