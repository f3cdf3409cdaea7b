"""Everything a router counts, in one place. Workers write into files that the supervisor sums (prometheus_client's multiprocess mode).

Every label combination of a routed version exists at zero before its first request: a series that is born with its first increment hides
that increment from ``increase()``.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Histogram

from finetune_inference.contract import Check, CheckOutcome, Outcome, RouterMetric, RouteTable, Track
from finetune_inference.router.answers import REASONS
from finetune_inference.router.upstream import RETRIED

_ARM: Final = ("namespace", "deployment", "version", "track")
RETIRED_KEPT: Final = 32
"""Versions of earlier tables whose counters stay, in case they come back."""

_FIRST_TOKEN: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0, 60.0)
_BETWEEN: Final = (0.002, 0.005, 0.01, 0.015, 0.025, 0.04, 0.06, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 10.0)
_WHOLE: Final = (0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0)


@dataclass(frozen=True)
class Arm:
    """The counters of one version on one track."""

    outcomes: dict[Outcome, Counter]
    first_token: Histogram
    between: Histogram
    whole: Histogram
    reasons: dict[str, Counter]
    tokens: Counter
    checks: dict[CheckOutcome, Counter]


class Measures:
    """All families; `arm` gives what belongs to a version. ``compact`` is called when versions were forgotten."""

    def __init__(self, registry: CollectorRegistry | None = None, compact: Callable[[], None] = lambda: None) -> None:
        at = registry
        self._compact = compact
        self._requests = Counter(RouterMetric.REQUESTS, "Requests by version, track and how they ended.", [*_ARM, "outcome"], registry=at)
        self._first_token = Histogram(
            RouterMetric.TTFT,
            "From the whole request to the first byte of a streamed answer.",
            _ARM,
            buckets=_FIRST_TOKEN,
            registry=at,
        )
        self._between = Histogram(RouterMetric.ITL, "Gap between chunks of a streamed answer.", _ARM, buckets=_BETWEEN, registry=at)
        self._whole = Histogram(
            "adapter_router_e2e_seconds", "From the whole request to the end of a good answer.", _ARM, buckets=_WHOLE, registry=at
        )
        self._finish = Counter("adapter_router_finish_total", "Good answers by finish reason.", [*_ARM, "reason"], registry=at)
        self._tokens = Counter(
            "adapter_router_output_tokens_total", "Tokens by the engine's usage field, else events of the stream.", _ARM, registry=at
        )
        self._checks = Counter(RouterMetric.CHECKS, "Checked answers by result.", [*_ARM, "check", "outcome"], registry=at)
        self.checks_dropped = Counter("adapter_router_checks_dropped_total", "Answers not checked: no room, or too long.", registry=at)
        self.shadow_dropped = Counter("adapter_router_shadow_dropped_total", "Copies not sent: as many open as may be.", registry=at)
        self.refused = Counter("adapter_router_refused_total", "Requests that were not forwarded.", ["code"], registry=at)
        self.retries = Counter("adapter_router_retries_total", "Requests asked again of another pod, by cause.", ["cause"], registry=at)
        for cause in RETRIED:
            self.retries.labels(cause.value)
        self._arms: dict[tuple[str, str, str, Track], Arm] = {}

    def arm(self, namespace: str, deployment: str, version: str, track: Track) -> Arm:
        """The counters of one version, all of them at zero when they are new."""
        key = (namespace, deployment, version, track)
        arm = self._arms.get(key)
        if arm is None:
            arm = self._arms[key] = self._born(*key)
        return arm

    def follow(self, table: RouteTable) -> None:
        """Bring every version of the table into being."""
        for namespace, deployment, version in routed(table):
            for track in Track:
                self.arm(namespace, deployment, version, track)
        retired = {key[:3] for key in self._arms} - set(routed(table))
        if len(retired) > RETIRED_KEPT:
            self._forget(retired)

    def _forget(self, versions: set[tuple[str, str, str]]) -> None:
        """Let go of versions that no table routes; an answer that is still under way counts into nothing that is shown."""
        self._arms = {key: arm for key, arm in self._arms.items() if key[:3] not in versions}
        for namespace, deployment, version in versions:
            labels = {"namespace": namespace, "deployment": deployment, "version": version}
            for family in (self._requests, self._first_token, self._between, self._whole, self._finish, self._tokens, self._checks):
                family.remove_by_labels(labels)
        self._compact()

    def _born(self, *labels: str) -> Arm:
        return Arm(
            outcomes={outcome: self._requests.labels(*labels, outcome) for outcome in Outcome},
            first_token=self._first_token.labels(*labels),
            between=self._between.labels(*labels),
            whole=self._whole.labels(*labels),
            reasons={reason: self._finish.labels(*labels, reason) for reason in REASONS},
            tokens=self._tokens.labels(*labels),
            checks={outcome: self._checks.labels(*labels, Check.SCHEMA, outcome) for outcome in CheckOutcome},
        )


def routed(table: RouteTable) -> Iterable[tuple[str, str, str]]:
    """Namespace, deployment and version of all that a table counts."""
    return ((table.namespace, route.deployment, version) for route in table.routes for version in route.versions)
