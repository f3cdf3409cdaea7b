"""Sums the workers' counters for a scrape, without the versions that no table routes any more."""

import json
import logging
import struct
from collections.abc import Iterable, Mapping
from pathlib import Path

from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.mmap_dict import MmapedDict
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

Version = tuple[str, str, str]
"""Namespace, deployment and version."""

log = logging.getLogger(__name__)

KINDS = ("counter", "histogram")


def clear(folder: Path) -> None:
    """Counters of an earlier process are no part of this one's."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.glob("*.db*"):
        path.unlink()


def prepare(folder: Path, slot: int, living: set[Version]) -> None:
    """Make a worker's files before it starts, so that a scrape never meets a half-made one; what they hold of living versions stays."""
    for kind in KINDS:
        path, fresh = folder / f"{kind}_{slot}.db", folder / f"{kind}_{slot}.db.new"
        kept = _kept(path, living)
        fresh.unlink(missing_ok=True)
        file = MmapedDict(str(fresh))  # type: ignore[no-untyped-call]
        for key, value, timestamp, _ in kept:
            file.write_value(key, value, timestamp)  # type: ignore[no-untyped-call]
        file.close()  # type: ignore[no-untyped-call]
        fresh.replace(path)


class WorkerCounters(Collector):
    """What the workers counted of living versions."""

    def __init__(self, folder: Path, living: set[Version]) -> None:
        self._folder = folder
        self._living = living

    def collect(self) -> Iterable[Metric]:
        workers = MultiProcessCollector(None, str(self._folder))  # type: ignore[no-untyped-call]
        for metric in workers.collect():  # type: ignore[no-untyped-call]
            metric.samples = [sample for sample in metric.samples if _lives(sample.labels, self._living)]
            yield metric


class Gauges(Collector):
    """What the supervisor knows itself."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        yield from self._families


def gauge(name: str, documentation: str, labels: Iterable[str], values: Mapping[tuple[str, ...], float]) -> Metric:
    """One family with its values by label values."""
    family = GaugeMetricFamily(name, documentation, labels=list(labels))
    for label_values, value in values.items():
        family.add_metric(label_values, value)
    return family


def rendered(*collectors: Collector) -> bytes:
    """The text format."""
    registry = CollectorRegistry()
    for collector in collectors:
        registry.register(collector)
    return generate_latest(registry)


def _kept(path: Path, living: set[Version]) -> list[tuple[str, float, float, int]]:
    """A file that a crash of the machine has spoilt costs its counts, not the router."""
    if not path.exists():
        return []
    try:
        entries = list(MmapedDict.read_all_values_from_file(str(path)))  # type: ignore[no-untyped-call]
        return [entry for entry in entries if _lives(json.loads(entry[0])[2], living)]
    except (RuntimeError, ValueError, struct.error):
        log.exception("counters of a worker begin at zero: %s cannot be read", path.name)
        return []


def _lives(labels: dict[str, str], living: set[Version]) -> bool:
    return "version" not in labels or (labels["namespace"], labels["deployment"], labels["version"]) in living
