"""What governance adds to an operator process: its watches, what it tells of policies and data, facts for admission, and signed records.

Made only with ``--governance``; without it nothing of this exists, is watched or is written.
"""

import logging
from collections.abc import Callable
from typing import Final

from finetune_operator.cluster.cache import Key, ParentStore
from finetune_operator.cluster.kube import KubeApi, Selection
from finetune_operator.cluster.reflector import Reflector, Sink
from finetune_operator.cluster.resources import (
    APPROVALS,
    GOVERNANCE_FACTS,
    GOVERNANCE_POLICIES,
    NAMESPACES,
    NETWORK_POLICIES,
    NODES,
    TRAINING_DATASETS,
    Resource,
)
from finetune_operator.control.current import CurrentFacts
from finetune_operator.control.egress import EgressControl
from finetune_operator.control.governance import GovernanceCache
from finetune_operator.control.notary import Notary
from finetune_operator.control.standings import Standings
from finetune_operator.runtime.metrics import Metrics
from finetune_operator.runtime.parts import StartTask
from finetune_operator.runtime.preflight import require_definition
from finetune_operator.runtime.records import Records
from finetune_operator.runtime.settings import Settings
from finetune_operator.runtime.watches import OURS, watch

log = logging.getLogger(__name__)

KINDS: Final = (GOVERNANCE_POLICIES, TRAINING_DATASETS, APPROVALS, GOVERNANCE_FACTS)
"""Of our own, without which nothing can be decided."""


class Governing:
    """The parts, wired together; `Process` runs them. ``parents`` are the FineTuneJobs, ``wake`` hears of each that has to be looked at."""

    def __init__(self, settings: Settings, kube: KubeApi, metrics: Metrics, parents: ParentStore, wake: Callable[[Key], None]) -> None:
        self._kube = kube
        self._metrics = metrics
        self._namespaces = tuple(settings.namespace)
        self.cache = GovernanceCache(parents, wake, settings.site(), by_namespace=bool(self._namespaces))
        self.standings = Standings(kube, self.cache, policies=not self._namespaces, pace=settings.governance_status_seconds)
        self._current = CurrentFacts(kube, self.cache, self._namespaces)
        self._control = self._make_control(settings.egress_probe_target)
        self._records = Records(settings, kube, metrics, self.cache.cluster, wake) if settings.signing_key is not None else None
        if self._records is None:
            log.warning("no --signing-key: what governed runs make is published unsigned, and nothing is recorded")
        self.reflectors = self._make_reflectors() + (self._records.reflectors if self._records is not None else [])

    @property
    def notary(self) -> Notary | None:
        return self._records.notary if self._records is not None else None

    async def require_kinds(self) -> None:
        """Raises `PreflightFailed` for a kind that the API server does not know."""
        for kind in KINDS:
            await require_definition(self._kube, self._namespaces[0] if self._namespaces and kind.namespaced else None, kind)

    async def require_records(self) -> None:
        """Raises `PreflightFailed` where records cannot be written."""
        if self._records is not None:
            await self._records.require()

    def watch(self, begin: StartTask) -> None:
        """What a follower does too."""
        if self._control is not None:
            begin("control of egress probes", self._control.run())

    async def live(self) -> None:
        """Everything has been listed; over once it is known whether the target of egress probes can be reached."""
        if self._control is not None:
            await self._control.tried.wait()
        self.cache.live()
        if self._records is not None:
            self._records.live()

    def start(self, begin: StartTask) -> None:
        """Everything that writes."""
        begin("standings", self.standings.run())
        begin("facts for admission", self._current.run())
        if self._records is not None:
            self._records.start(begin)

    async def close(self) -> None:
        if self._records is not None:
            await self._records.close()

    def expose(self) -> None:
        """Gauges of the leader: a follower knows the same jobs, and two that tell would be counted twice."""
        leads, standings = self._metrics.leads, self.standings
        text = "FineTuneJobs that wait for people to approve or to waive."
        self._metrics.gauge("finetune_governance_approvals_waiting", text, lambda: standings.waiting if leads() else 0)
        text = "What auditing policies would hold, among the FineTuneJobs that exist now."
        self._metrics.gauge("finetune_governance_audit_findings", text, lambda: standings.audited if leads() else 0)

    def _make_control(self, target: str) -> EgressControl | None:
        """The positive control of egress probes, where there are any."""
        if not target:
            return None
        control = EgressControl(target, self.cache.ask_again)
        self.cache.target_reached = lambda: control.reached
        return control

    def _make_reflectors(self) -> list[Reflector]:
        cache = self.cache
        watched: list[tuple[Resource, Sink, str | None, str]] = [
            (NAMESPACES, cache.namespaces, None, ""),
            (GOVERNANCE_POLICIES, cache.policies, None, ""),
            (NODES, cache.nodes, None, ""),
        ]
        for namespace in self._namespaces or (None,):
            watched += [
                (TRAINING_DATASETS, cache.datasets, namespace, ""),
                (APPROVALS, cache.approvals, namespace, ""),
                (NETWORK_POLICIES, cache.network_policies, namespace, OURS),
                (GOVERNANCE_FACTS, self._current.stored, namespace, ""),
            ]
        return [
            watch(self._kube, self._metrics, sink, resource, Selection(namespace=namespace, labels=labels))
            for resource, sink, namespace, labels in watched
        ]
