"""Rollouts judged by the counters that a real Prometheus has scraped from the routers."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from finetune_testbed.bed import Testbed
from tests.cluster import operator_process, serving_site
from tests.cluster.operator_process import OperatorProcess
from tests.cluster.serving_site import FAST, NAME, ROUTER_ADMIN_PORT, STEP, Site
from tests.engines.prometheus import PrometheusProcess, job, prometheus

pytestmark = pytest.mark.skipif(shutil.which("prometheus") is None, reason="prometheus (Debian package prometheus) is not installed")
ANALYSIS = {"minRequests": 20, "maxWaitSeconds": 600}
SCRAPED = {**ANALYSIS, "provider": "Prometheus"}
LONG = {"canary": {"steps": [{"weight": 50, "bakeSeconds": 300, "analysis": ["Errors"]}]}}


@contextmanager
def watched(site: Site, folder: Path) -> Iterator[PrometheusProcess]:
    labels = {"namespace": site.place.namespace, "pod": "router-0"}
    with prometheus(folder, [job("routers", ROUTER_ADMIN_PORT, labels, host=site.address(1))]) as server:
        yield server


@contextmanager
def operator(site: Site, folder: Path, server: PrometheusProcess) -> Iterator[OperatorProcess]:
    options = ("--rollout-prometheus-url", server.url, "--rollout-prometheus-ca-file", str(server.ca))
    arguments = ("--namespace", site.place.namespace, *FAST, *options, "--rollout-prometheus-freshness-seconds", "5")
    with operator_process.running(site.place.bed.kubeconfig, folder, arguments) as process:
        yield process


def test_a_canary_passes_and_a_bad_one_is_taken_back(t1: Testbed, tmp_path: Path) -> None:
    with (
        serving_site.site(t1, tmp_path) as site,
        watched(site, tmp_path / "prometheus") as server,
        operator(site, tmp_path, server) as process,
    ):
        first, second, third = (site.publish(seed) for seed in (1, 2, 3))
        site.apply(first, analysis=SCRAPED)
        site.wait_phase("Healthy")
        with site.traffic() as load:
            site.apply(second, analysis=SCRAPED)
            assert site.wait_phase("Retaining")["stable"]["version"] == second.name(NAME)
            assert not load.failures
            site.servers[0].fault(error_share={third.name(NAME): 0.3})
            site.apply(third, analysis=SCRAPED)
            failed = site.wait(lambda status: status.get("failedVersions"), "taken back")["failedVersions"][0]
        assert (failed["digest"], failed["reason"]) == (third.digest, "RolledBack")
        assert process.metric('finetune_rollout_prometheus_reads_total{result="ok"}') > 0


def test_nothing_passes_without_prometheus_and_the_source_may_change_under_way(t1: Testbed, tmp_path: Path) -> None:
    with serving_site.site(t1, tmp_path) as site, watched(site, tmp_path / "prometheus") as server, operator(site, tmp_path, server):
        first, second = site.publish(1), site.publish(2)
        site.apply(first, analysis=SCRAPED)
        site.wait_phase("Healthy")
        with site.traffic() as load:
            site.apply(second, analysis=SCRAPED, strategy=LONG)
            begun = site.wait(lambda status: (status.get("rollout") or {}).get("stage") == "Baking", "baking")
            server.kill()
            site.wait(lambda _: site.condition("AnalysisPassing")["reason"] == "MetricsUnavailable", "unavailable")
            for kind, status in (("AnalysisPassing", "Unknown"), ("Ready", "False")):
                condition = site.condition(kind)
                assert (condition["status"], condition["reason"]) == (status, "MetricsUnavailable")
                assert condition["message"].startswith("spec.analysis.provider: ")
            short = {"canary": {"steps": [{"weight": 50, **STEP}]}}
            site.apply(second, analysis=SCRAPED, strategy=short)
            site.wait(lambda status: status["observedGeneration"] == site.get()["metadata"]["generation"], "seen")
            seen = len(load.records)
            site.wait(lambda _: len(load.records) > seen + 60, "requests enough to pass")
            held = site.status()
            assert held["rollout"]["stage"] == "Baking"
            assert not held.get("failedVersions")
            assert held["rollout"]["baseline"] == begun["rollout"]["baseline"]
            site.apply(second, analysis=ANALYSIS, strategy=short)
            status = site.wait_phase("Retaining")
        assert status["stable"]["version"] == second.name(NAME)
        (window,) = [each for each in status["analysis"] if each["check"] == "Errors"]
        assert 0 < window["canarySamples"] <= len(load.records), "what was counted since the baseline that Prometheus gave"
