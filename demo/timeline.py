"""What happened to a deployment, second by second: its weights from its status, errors, answers and first tokens from its routers.

The file it writes is what `examples.rollouts` draws.
"""

import json
import threading
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from demo.beside import beside
from demo.kubectl import Kubectl, KubectlError
from finetune_inference.contract import CheckOutcome, Outcome, RouterMetric
from finetune_operator.cluster.exposition import MetricLine, read_line

EVERY_SECONDS = 2.0
METRICS_PORT = 9100
_TTFT = RouterMetric.TTFT.value
_NAMES = (RouterMetric.REQUESTS.value, RouterMetric.CHECKS.value, f"{_TTFT}_sum", f"{_TTFT}_count")
_FAILED = (Outcome.ERROR.value, Outcome.FALLBACK.value)


@dataclass
class Counts:
    """Sums over all routers since they began, of one version and one track."""

    ok: float = 0
    failed: float = 0
    valid: float = 0
    invalid: float = 0
    first_seconds: float = 0
    first_count: float = 0

    def add(self, line: MetricLine) -> None:
        """One sample of a router; outcomes that are the caller's own doing count for nobody."""
        outcome = line.labels.get("outcome")
        if line.name == f"{_TTFT}_sum":
            self.first_seconds += line.value
        elif line.name == f"{_TTFT}_count":
            self.first_count += line.value
        elif line.name == RouterMetric.CHECKS:
            self.valid += line.value if outcome == CheckOutcome.VALID else 0
            self.invalid += line.value if outcome == CheckOutcome.INVALID else 0
        elif line.name == RouterMetric.REQUESTS:
            self.ok += line.value if outcome == Outcome.OK else 0
            self.failed += line.value if outcome in _FAILED else 0


@dataclass
class Sample:
    """``counts``: by "version/track". ``shares``: version → percent of the callers it answers."""

    at: float
    phase: str
    reason: str
    shadow: int
    shares: dict[str, int]
    counts: dict[str, Counts] = field(default_factory=dict)


def sample(at: float, deployment: Mapping[str, Any], expositions: Iterable[str]) -> Sample:
    """One moment, from the object and the routers' ``/metrics``."""
    status = deployment.get("status", {})
    route = status.get("route") or {}
    weight = int(route.get("weight", 0))
    shares = {route[arm]: share for arm, share in (("stable", 100 - weight), ("canary", weight)) if route.get(arm)}
    ready: Mapping[str, Any] = next((item for item in status.get("conditions", []) if item["type"] == "Ready"), {})
    counts: defaultdict[str, Counts] = defaultdict(Counts)
    name = deployment.get("metadata", {}).get("name")
    for text in expositions:
        for raw in text.encode().splitlines():
            line = read_line(raw, _NAMES)
            if line is not None and line.labels.get("deployment") == name:
                counts[f"{line.labels['version']}/{line.labels['track']}"].add(line)
    shadow = int((route.get("shadow") or {}).get("percent", 0))
    return Sample(at, status.get("phase", ""), ready.get("reason", ""), shadow, shares, dict(counts))


@dataclass
class Timeline:
    """Samples of one deployment, taken on a thread of its own."""

    kubectl: Kubectl
    namespace: str
    name: str
    samples: list[Sample] = field(default_factory=list)
    gaps: int = 0
    """Moments of which nothing is known, because kubectl got no answer."""

    @contextmanager
    def recording(self) -> Iterator["Timeline"]:
        with beside(self._record, "timeline"):
            yield self

    def write(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps([asdict(sample) for sample in self.samples]), encoding="utf-8")

    def _record(self, end: threading.Event) -> None:
        over = False
        while not over:
            over = end.wait(EVERY_SECONDS)  # the last sample is of the end
            try:
                deployment = self.kubectl.get("adapterdeployment", self.name, "-n", self.namespace)
                self.samples.append(sample(time.time(), deployment, self._expositions()))
            except KubectlError:
                self.gaps += 1

    def _expositions(self) -> list[str]:
        pods = self.kubectl.get("pods", "-n", self.namespace, "-l", "finetune.dev/serving-role=router")["items"]
        place = f"/api/v1/namespaces/{self.namespace}/pods"
        return [
            self.kubectl.run("get", "--raw", f"{place}/{pod['metadata']['name']}:{METRICS_PORT}/proxy/metrics")
            for pod in pods
            if pod["status"].get("phase") == "Running" and "deletionTimestamp" not in pod["metadata"]
        ]
