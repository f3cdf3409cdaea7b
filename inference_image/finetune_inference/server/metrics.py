"""Prometheus metrics: vLLM's names where they mean the same, so that one dashboard reads both; what they cannot say, under names of ours.

vLLM labels by base model alone. Per adapter there are ``finetune_server_*``; an adapter's series go when it is unloaded.
"""

import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from finetune_inference.server.engine import Load
    from finetune_inference.server.sequence import Finish, Sequence

FIRST_TOKEN = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0, 160.0)
BETWEEN_TOKENS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0)
WHOLE = (0.05, 0.1, 0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 120.0, 240.0)
BASE = ""


class Metrics:
    """Counted from the engine's thread, read from the event loop's."""

    def __init__(self, model_name: str, max_adapters: int) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)  # when this process began is how the agent knows that an engine came back empty
        labels = {"model_name": model_name, "engine": "0"}
        self._labels = labels

        def histogram(name: str, text: str, buckets: tuple[float, ...]) -> Histogram:
            return Histogram(name, text, [*labels], registry=self.registry, buckets=buckets).labels(**labels)

        def counter(name: str, text: str) -> Counter:
            return Counter(name, text, [*labels], registry=self.registry).labels(**labels)

        self._first = histogram("vllm:time_to_first_token_seconds", "From arrival to the first token.", FIRST_TOKEN)
        self._between = histogram("vllm:inter_token_latency_seconds", "Between two tokens of an answer.", BETWEEN_TOKENS)
        self._whole = histogram("vllm:e2e_request_latency_seconds", "From arrival to the last token.", WHOLE)
        self._prompt = counter("vllm:prompt_tokens", "Tokens of prompts that were computed.")
        self._generated = counter("vllm:generation_tokens", "Tokens generated.")
        self._success = Counter("vllm:request_success", "Requests that ended.", [*labels, "finished_reason"], registry=self.registry)
        for reason in ("stop", "length", "abort", "error"):
            self._success.labels(**labels, finished_reason=reason)
        self._by_adapter = AdapterMetrics(self.registry)
        self._max_adapters = max_adapters
        self._adapters_used = False

    def watch(self, load: "Callable[[], Load]") -> None:
        """Show how busy the engine is, as it is when somebody looks."""
        self.registry.register(_EngineLoad(load, lambda: self._adapters_used, self._labels, self._max_adapters))

    def token(self, sequence: "Sequence", now: float) -> None:
        """Before ``sequence`` takes a token."""
        if sequence.generated == 0:
            sequence.first_token_at = now
            self._first.observe(now - sequence.arrived)
            self._prompt.inc(len(sequence.prompt))
            self._by_adapter.first_token(sequence.label, now - sequence.arrived)
            self._adapters_used = self._adapters_used or sequence.label != BASE
        else:
            self._between.observe(now - sequence.last_token_at)

    def finished(self, sequence: "Sequence", finish: "Finish", now: float) -> None:
        self._success.labels(**self._labels, finished_reason=finish.value).inc()
        self._generated.inc(sequence.generated)
        self._whole.observe(now - sequence.arrived)
        self._by_adapter.finished(sequence.label, finish, sequence.generated)

    def adapter_loaded(self, adapter: str, rank: int) -> None:
        self._by_adapter.loaded(adapter, rank)

    def adapter_gone(self, adapter: str) -> None:
        self._by_adapter.gone(adapter)

    def exposition(self) -> bytes:
        return bytes(generate_latest(self.registry))


class AdapterMetrics:
    """Series by adapter; all of an adapter's exist at zero from the moment it is loaded, so that rates miss no first increment."""

    _REASONS = ("stop", "length", "abort", "error")

    def __init__(self, registry: CollectorRegistry) -> None:
        prefix = "finetune_server_adapter"
        self._loaded = Gauge(f"{prefix}_loaded", "1 for each adapter in memory.", ["adapter", "rank"], registry=registry)
        self._requests = Counter(f"{prefix}_requests", "Requests that ended.", ["adapter", "finished_reason"], registry=registry)
        self._tokens = Counter(f"{prefix}_generation_tokens", "Tokens generated.", ["adapter"], registry=registry)
        self._first = Histogram(
            f"{prefix}_time_to_first_token_seconds", "From arrival to the first token.", ["adapter"], registry=registry, buckets=FIRST_TOKEN
        )
        self._ranks: dict[str, int] = {}

    def loaded(self, adapter: str, rank: int) -> None:
        self._ranks[adapter] = rank
        self._loaded.labels(adapter, rank).set(1)
        self._tokens.labels(adapter)
        self._first.labels(adapter)
        for reason in self._REASONS:
            self._requests.labels(adapter, reason)

    def gone(self, adapter: str) -> None:
        rank = self._ranks.pop(adapter, None)
        if rank is None:
            return
        self._loaded.remove(adapter, rank)
        self._tokens.remove(adapter)
        self._first.remove(adapter)
        for reason in self._REASONS:
            self._requests.remove(adapter, reason)

    def first_token(self, adapter: str, seconds: float) -> None:
        if adapter in self._ranks:
            self._first.labels(adapter).observe(seconds)

    def finished(self, adapter: str, finish: "Finish", tokens: int) -> None:
        if adapter in self._ranks:
            self._requests.labels(adapter, finish.value).inc()
            self._tokens.labels(adapter).inc(tokens)


class _EngineLoad(Collector):
    """Gauges that are read, not kept."""

    def __init__(self, load: "Callable[[], Load]", adapters_used: Callable[[], bool], labels: dict[str, str], max_adapters: int) -> None:
        self._load = load
        self._adapters_used = adapters_used
        self._labels = labels
        self._max_adapters = max_adapters

    def collect(self) -> Iterator[GaugeMetricFamily]:
        load = self._load()
        yield self._gauge("vllm:num_requests_running", "Sequences in the batch.", len(load.running))
        yield self._gauge("vllm:num_requests_waiting", "Sequences that wait to join it.", len(load.waiting))
        yield self._gauge("finetune_server_cache_bytes", "Memory held for keys and values.", load.cache_bytes)
        running, waiting = (sorted({name for name in names if name != BASE}) for names in (load.running, load.waiting))
        if self._adapters_used() or running or waiting:  # absent until an adapter is used, as in vLLM
            names = ["max_lora", "running_lora_adapters", "waiting_lora_adapters"]
            info = GaugeMetricFamily("vllm:lora_requests_info", "Adapters in use; the value is the time of looking.", labels=names)
            info.add_metric([str(self._max_adapters), ",".join(running), ",".join(waiting)], time.time())
            yield info

    def _gauge(self, name: str, text: str, value: float) -> GaugeMetricFamily:
        family = GaugeMetricFamily(name, text, labels=[*self._labels])
        family.add_metric([*self._labels.values()], value)
        return family
