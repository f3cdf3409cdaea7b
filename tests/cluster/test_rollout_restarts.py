"""``kill -9`` of every process at every state of a rollout: users go on being answered, and the rollout goes on from where it was."""

import signal
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from finetune_testbed.audit import AuditLog, tally
from finetune_testbed.bed import Testbed
from finetune_testbed.proxy import Proxy
from tests.cluster import operator_process, serving_site
from tests.cluster.operator_process import OperatorProcess, until
from tests.cluster.serving.pods import held
from tests.cluster.serving.strikes import Strikes, ready
from tests.cluster.serving_site import FAST, NAME, Site
from tests.engines.artifacts import BASE_NAME
from tests.engines.load import Load

NEVER = 100_000
"""Requests that a check wants to see before it passes: more than will come while the test looks on."""
ENOUGH = 20


def spec(enough: int = NEVER, **changes: Any) -> dict[str, Any]:
    """A rollout whose every stop ends by what is learnt or ordered, and by no clock."""
    steps = [
        {"shadow": {"percent": 100}, "bakeSeconds": 0, "analysis": ["Errors"]},
        {"weight": 40, "bakeSeconds": 0, "analysis": [], "approval": True},
        {"weight": 60, "bakeSeconds": 0, "analysis": ["Errors"]},
    ]
    return {
        "server": {"managed": {"engine": "vLLM", "replicas": 2}},
        "strategy": {"canary": {"steps": steps}},
        "analysis": {"minRequests": enough, "maxWaitSeconds": 3600},
        "rollback": {"keepStableLoadedSeconds": 600, "drainTimeoutSeconds": 600},
        **changes,
    }


def at(stage: str, step: int | None = None, hold: str | None = None) -> Any:
    """The rollout stands there and waits."""

    def look(status: dict[str, Any]) -> bool:
        rollout = status.get("rollout") or {}
        return (rollout.get("stage"), rollout.get("step") or None, rollout.get("hold")) == (stage, step, hold)

    return look


@pytest.mark.timeout(1200)
def test_whoever_is_killed_at_whichever_state_users_are_answered_and_the_rollout_goes_on(t1: Testbed, tmp_path: Path) -> None:
    with Proxy(t1) as proxy, serving_site.site(t1, tmp_path, servers=2) as site:
        site.api_url = proxy.url
        site.add_router()  # the second one, whose watch can be made to lag

        def start() -> OperatorProcess:
            return operator_process.start(t1.kubeconfig, tmp_path, ("--namespace", site.place.namespace, *FAST))

        strikes = Strikes(site, start, start())
        try:
            _tour(site, proxy, strikes)
        finally:
            proxy.thaw_watches()
            strikes.operator.stop()


def _tour(site: Site, proxy: Proxy, strikes: Strikes) -> None:
    first, second, third = (site.publish(seed) for seed in (1, 2, 3))
    one, two, three = (adapter.name(NAME) for adapter in (first, second, third))

    site.servers[1].fault(hold_loads=True)
    site.apply(first, **spec())
    site.wait(at("Loading"), "loading the first version")
    until(lambda: one in site.servers[0].held())
    strikes.all("first install", server=0)
    strikes.engine(site.servers[1])  # in the middle of the load
    site.wait_phase("Healthy")

    with site.traffic(retries=True) as load:
        strikes.load = load
        site.apply(second, **spec(paused=True))
        site.wait(lambda status: status.get("phase") == "Paused" and at("Loading")(status), "paused before the first step")
        strikes.all("paused")
        site.apply(second, **spec())
        site.wait(at("Baking", 1), "the shadow step")
        strikes.all("shadow")
        site.apply(second, **spec(ENOUGH))
        site.wait(at("Baking", 2, "WaitingForApproval"), "waiting for approval")
        site.apply(second, **spec())
        strikes.all("awaiting approval")
        site.apply(second, **spec(approvedVersion=second.digest))
        site.wait(at("Baking", 3), "the last step")
        strikes.all("last step")
        _scale_out(site, load, one, two)
        proxy.freeze_watches()
        site.apply(second, **spec(ENOUGH, approvedVersion=second.digest))
        site.wait(at("Promoting", 3), "promoting, and a router that lags")
        strikes.all("promoting", router=0)
        strikes.router(1)  # it lists anew, and so acknowledges
        proxy.thaw_watches()
        site.wait_phase("Retaining")
        strikes.all("former version draining")

        site.apply(third, **spec())
        site.wait(at("Baking", 1), "another shadow step")
        proxy.freeze_watches()
        site.order("abort:1")
        site.wait(at("RollingBack", 1), "rolling back, and a router that lags")
        strikes.all("rolling back", router=0)
        proxy.thaw_watches()
        site.wait_phase("Degraded")
        strikes.all("rolled back")

    strikes.load = None
    proxy.freeze_watches()
    site.delete()
    site.wait_phase("Draining")
    strikes.all("deletion", router=0)
    proxy.thaw_watches()
    until(site.gone)

    assert strikes.unexcused(load) == []
    assert {record.version for record in load.records if not record.failure} == {one, two}
    site.watch.catch_up()
    assert [version for version, _begun in site.watch.rollouts] == [one, two, three], "each began once"
    assert site.watch.weights() == [0, 40, 60, 0]
    print(f"from kill to ready again: {sorted(round(seconds, 2) for seconds in strikes.back)}")


def _scale_out(site: Site, load: Load, *versions: str) -> None:
    """A new replica gets requests for what it holds and for nothing else, and the bake waits for it."""
    site.program = held(site.program)
    new = site.add_server()
    site.wait(at("Baking", 3, "Loading"), "a bake that waits for the new replica")
    seen = len(load.records)
    until(lambda: len(load.records) > seen + 50)
    assert not ready(new)
    assert new.asked() == {"requests": {}, "unknown": {}}
    new.fault(hold_loads=False)
    site.wait(at("Baking", 3), "baking on")
    proven = new.asked()["requests"]
    until(lambda: all(new.asked()["requests"][version] >= proven.get(version, 0) + 5 for version in versions))
    assert new.asked()["unknown"] == {}
    assert new.asked()["requests"].keys() == {BASE_NAME, *versions}, "the base model for the proof alone"


def test_another_leader_goes_on_with_the_rollout_and_the_former_one_writes_nothing_more(t1: Testbed, tmp_path: Path) -> None:
    weights = [5, 20, 40, 60, 80]
    strategy = {"canary": {"steps": [{"weight": weight, "bakeSeconds": 1, "analysis": []} for weight in weights]}}
    with Proxy(t1) as proxy, serving_site.site(t1, tmp_path) as site, ExitStack() as stack:
        arguments = ("--namespace", site.place.namespace, "--leader-elect", "--lease-namespace", site.place.namespace, *FAST)

        def start(kubeconfig: Path, *, wait: bool) -> OperatorProcess:
            operator = operator_process.start(kubeconfig, tmp_path, arguments, wait=wait)
            stack.callback(operator.kill)
            return operator

        leader = start(proxy.write_kubeconfig(tmp_path / "leader.kubeconfig"), wait=True)
        follower = start(t1.kubeconfig, wait=False)
        first, second = site.publish(1), site.publish(2)
        site.apply(first, strategy=strategy)
        site.wait_phase("Healthy")
        until(lambda: "caches in sync" in follower.messages())
        log = AuditLog(t1)
        mark = log.mark()
        with site.traffic() as load:
            site.apply(second, strategy=strategy)
            site.wait(at("Baking", 2), "the second step")
            leader.signal(signal.SIGSTOP)
            site.wait(lambda status: (status.get("rollout") or {}).get("step", 0) >= 4, "the fourth step, by the other one")
            before = len(proxy.writes())
            leader.signal(signal.SIGCONT)
            assert leader.process.wait(60) == 1, leader.log_file.read_text()[-2000:]
            assert len(proxy.writes()) == before
            site.wait_phase("Retaining")
        assert "leading" in follower.messages()
        cost = [
            call for call in log.writes("finetune-operator", since=mark) if call.namespace == site.place.namespace and not call.is_lease
        ]
        print(f"{len(cost)} writes: {tally(cost)}")
        assert len(cost) <= 25, tally(cost)
        assert not load.failures
        assert site.watch.weights() == weights
        assert [version for version, _begun in site.watch.rollouts] == [first.name(NAME), second.name(NAME)]
        assert [entry["outcome"] for entry in site.status()["history"]] == ["Promoted", "Promoted"]
        until(lambda: [event["reason"] for event in _events(site)].count("Promoted") == 2)  # events follow the status


def _events(site: Site) -> list[dict[str, Any]]:
    path = site.place.path("events", group="events.k8s.io/v1")
    found: list[dict[str, Any]] = site.place.server.request("GET", path)["items"]
    return found
