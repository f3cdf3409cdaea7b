"""Killing the operator after any of its writes changes nothing about how a rollout goes and ends."""

from pathlib import Path
from typing import Any

import pytest

from finetune_testbed.bed import Testbed
from finetune_testbed.proxy import Moment, Proxy, Strike, kill
from tests.cluster import operator_process, serving_site
from tests.cluster.operator_process import OperatorProcess, until
from tests.cluster.serving_site import FAST, NAME, Site
from tests.engines.artifacts import Published

WEIGHTS = [30, 70]
SPEC: dict[str, Any] = {
    "strategy": {"canary": {"steps": [{"weight": weight, "bakeSeconds": 0, "analysis": []} for weight in WEIGHTS]}},
    "rollback": {"keepStableLoadedSeconds": 0, "drainTimeoutSeconds": 1},
}
"""The former version goes soon after, so that the next rollout of it takes the steps again."""


def essence(status: dict[str, Any]) -> dict[str, Any]:
    """What must be the same however often the operator died."""
    route, desired = status["route"], status["desired"]
    return {
        "phase": status["phase"],
        "stable": status["stable"]["version"],
        "conditions": {each["type"]: (each["status"], each["reason"]) for each in status["conditions"]},
        "route": {name: route.get(name) for name in ("stable", "canary", "weight", "versions")},
        "desired": [version["name"] for version in desired["versions"]],
        "rollout": status.get("rollout"),
        "failed": status.get("failedVersions"),
        "last": (status["history"][0]["version"], status["history"][0]["outcome"]),
    }


def expected(adapter: Published) -> dict[str, Any]:
    version = adapter.name(NAME)
    conditions = {
        "Accepted": ("True", "Accepted"),
        "AnalysisPassing": ("Unknown", "NoCanary"),
        "Available": ("True", "Serving"),
        "Loaded": ("True", "Loaded"),
        "Ready": ("True", "Healthy"),
        "Reconciling": ("False", "Healthy"),
        "Stalled": ("False", "Healthy"),
        "TrafficApplied": ("True", "Applied"),
    }
    return {
        "phase": "Healthy",
        "stable": version,
        "conditions": conditions,
        "route": {"stable": version, "canary": None, "weight": 0, "versions": [version]},
        "desired": [version],
        "rollout": None,
        "failed": None,
        "last": (version, "Promoted"),
    }


class Rollouts:
    """One after another, through a proxy that may kill the operator."""

    def __init__(self, site: Site, proxy: Proxy, folder: Path) -> None:
        self.site = site
        self.proxy = proxy
        self._folder = folder
        self._kubeconfig = proxy.write_kubeconfig(folder / "proxied.kubeconfig")
        self.operator = self._start()
        self._since = 0

    def _start(self) -> OperatorProcess:
        return operator_process.start(self._kubeconfig, self._folder, ("--namespace", self.site.place.namespace, *FAST))

    def to(self, adapter: Published, *, die_after: int = 0, moment: Moment = Moment.COMMITTED) -> bool:
        """Roll this one out; whether the operator died on the way, at its ``die_after``-th write."""
        self.proxy.set_strike(Strike(die_after, kill(self.operator.pid), moment) if die_after else None)
        self._since = len(self.site.watch.caught_up())
        self.site.apply(adapter, **SPEC)
        until(lambda: self.proxy.has_struck or self._at_rest(adapter))
        struck = self.proxy.has_struck
        if struck:
            self.operator.process.wait()
            self.proxy.set_strike(None)
            self.operator = self._start()
        self.site.wait(lambda _: self._at_rest(adapter), f"at rest with {adapter.name(NAME)}")
        return struck

    @property
    def weights(self) -> list[int]:
        """Of the canary of the last one."""
        return self.site.watch.weights(self._since)

    def _at_rest(self, adapter: Published) -> bool:
        found = self.site.get()
        status = found.get("status") or {}
        settled = status.get("phase") == "Healthy" and status.get("observedGeneration") == found["metadata"]["generation"]
        told = {each["type"]: each["status"] for each in status.get("conditions") or []}
        heard = told.get("TrafficApplied") == told.get("Loaded") == "True"
        return settled and heard and bool(status["stable"]["version"] == adapter.name(NAME)) and not status.get("retained")


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("moment", "stride"), [(Moment.COMMITTED, 1), (Moment.ANSWERED, 3)], ids=["every write, before its answer", "some, after it"]
)
def test_a_rollout_ends_the_same_whichever_write_was_the_operators_last(t1: Testbed, tmp_path: Path, moment: Moment, stride: int) -> None:
    with serving_site.site(t1, tmp_path) as site, Proxy(t1) as proxy:
        adapters = [site.publish(1), site.publish(2)]
        rollouts = Rollouts(site, proxy, tmp_path)
        try:
            assert not rollouts.to(adapters[0])
            assert not rollouts.to(adapters[1])
            assert essence(site.status()) == expected(adapters[1])
            assert rollouts.weights == WEIGHTS
            after, adapter = 1, adapters[1]
            while True:
                adapter = adapters[0] if adapter is adapters[1] else adapters[1]
                struck = rollouts.to(adapter, die_after=after, moment=moment)
                where = f"killed at write {after}, {moment.value}"
                assert essence(site.status()) == expected(adapter), where
                assert rollouts.weights == WEIGHTS, where
                if not struck:
                    break
                after += stride
            assert after > 8, "the rollout was over before the operator had written what a rollout needs"
        finally:
            rollouts.operator.stop()
