"""Engines that a user runs himself, held to what is deployed by the real operator through their own API, and routed to by a real router."""

from collections.abc import Iterator

import pytest

from finetune_testbed.apiserver import MERGE
from finetune_testbed.audit import AuditLog, tally
from finetune_testbed.bed import Testbed
from tests.cluster import operator_process
from tests.cluster.operator_process import OperatorProcess, until
from tests.cluster.own_engines import WRITER, OwnSite, arguments, own_site
from tests.cluster.serving_site import STEP
from tests.engines.artifacts import AdapterFiles, publish
from tests.engines.forked import request

KEY = "a key of the engine"


@pytest.fixture(scope="module")
def own(t1: Testbed, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnSite]:
    with own_site(t1, tmp_path_factory.mktemp("own")) as here:
        yield here


@pytest.fixture(scope="module")
def operator(own: OwnSite) -> Iterator[OperatorProcess]:
    with operator_process.running(own.site.place.bed.kubeconfig, own.site.folder, arguments(own)) as process:
        yield process


def test_versions_are_pushed_rolled_out_and_unloaded_and_nothing_of_the_users_is_written(own: OwnSite, operator: OperatorProcess) -> None:
    site, engines = own.site, [own.add_engine("roll"), own.add_engine("roll")]
    log = AuditLog(site.place.bed)
    mark = log.mark()
    adapters = site.publish(1), site.publish(2)
    changes = {
        "strategy": {"canary": {"steps": [{"weight": 50, **STEP}]}},
        "rollback": {"keepStableLoadedSeconds": 2, "drainTimeoutSeconds": 2},
    }
    first = own.apply(adapters[0], "roll", **changes)
    status = site.wait_phase("Healthy", "roll")
    assert status["loaded"] == "2/2"
    assert status["selector"] == "app=roll"
    assert "not verified" in site.condition("Loaded", "roll")["message"]
    until(lambda: site.routers[0].generation("roll") == status["route"]["generation"])
    with site.traffic(name="roll") as load:
        second = own.apply(adapters[1], "roll", **changes)
        site.wait(lambda status: (status.get("stable") or {}).get("version") == second, "promoted", "roll")
        site.wait_phase("Healthy", "roll")
        until(lambda: all(engine.log[-1] == f"unload {first}" for engine in engines))
    assert not load.failures
    assert {record.version for record in load.records} == {first, second}
    for engine in engines:
        assert engine.log == [f"load {first}", f"load {second}", f"unload {first}"]
        assert engine.told()["counts"]["mostLoading"] == 1
    written = [call for call in log.writes(WRITER, since=mark) if call.namespace == site.place.namespace]
    assert {call.resource for call in written} == {"adapterdeployments", "events"}, tally(written)
    assert operator.metric('finetune_engine_pushes_total{result="ok",step="load"}') == 4


def test_an_engine_that_restarts_or_forgets_holds_the_versions_again(own: OwnSite, operator: OperatorProcess) -> None:
    engine = own.add_engine("lost")
    version = own.apply(own.site.publish(3), "lost")
    own.site.wait_phase("Healthy", "lost")
    engine.stop()
    engine.start()
    until(lambda: engine.log == [f"load {version}"])
    own.site.wait(lambda status: status.get("readyReplicas") == 1, "held again", "lost")
    assert request("POST", f"{engine.url}/faults/drop", {"name": version})[0] == 200
    until(lambda: engine.log == [f"load {version}"] * 2)
    own.site.wait(lambda status: status.get("loaded") == "1/1", "held again", "lost")


def test_a_pod_more_gets_the_versions_and_a_deletion_takes_them_away(own: OwnSite, operator: OperatorProcess) -> None:
    engine = own.add_engine("more")
    version = own.apply(own.site.publish(4), "more")
    own.site.wait_phase("Healthy", "more")
    another = own.add_engine("more")
    own.site.wait(lambda status: status.get("loaded") == "2/2", "two", "more")
    another.load("mine", str(own.site.volume / "team" / own.site.publish(5).digest.removeprefix("sha256:")))
    own.site.delete("more")
    until(lambda: own.site.gone("more"))
    assert engine.log == [f"load {version}", f"unload {version}"]
    assert another.log == [f"load {version}", "load mine", f"unload {version}"], "what the user has loaded stays"


def test_two_deployments_on_one_engine_load_one_after_the_other_and_share_its_slots(own: OwnSite, operator: OperatorProcess) -> None:
    engine = own.add_engine("both", "--max-cpu-loras", "3")
    engine.load("mine", str(own.site.volume / "team" / own.site.publish(9).digest.removeprefix("sha256:")))
    engine.fault(load_seconds=0.3)
    server = own.server("both", {"maxLoras": 2, "maxCpuLoras": 3})
    first = own.apply(own.site.publish(10), "both-a", server=server)
    second = own.apply(own.site.publish(11), "both-b", server=server)
    own.site.wait_phase("Healthy", "both-a")
    own.site.wait_phase("Healthy", "both-b")
    own.apply(own.site.publish(12), "both-c", server=server)
    own.site.wait(lambda _: own.site.condition("Ready", "both-c").get("reason") == "WaitingForCapacity", "capacity", "both-c")
    message = own.site.condition("Ready", "both-c")["message"]
    assert "4 on each pod (0 of this object, 2 of others, 1 that nobody here has loaded)" in message
    assert "spec.server.capacity.maxCpuLoras is 3" in message
    assert sorted(engine.log) == sorted(["load mine", f"load {first}", f"load {second}"])
    assert engine.told()["counts"]["mostLoading"] == 1
    own.site.delete("both-b")
    until(lambda: own.site.gone("both-b"))
    own.site.wait_phase("Healthy", "both-c")


def test_a_key_is_taken_from_the_namespaces_secret(own: OwnSite, operator: OperatorProcess) -> None:
    engine = own.add_engine("keyed", "--api-key", KEY)
    own.apply(own.site.publish(13), "keyed")
    own.site.wait(lambda _: "EngineKeyRejected" in own.site.condition("Ready", "keyed").get("message", ""), "refused", "keyed")
    assert "Secret finetune-engine-key" in own.site.condition("Ready", "keyed")["message"]
    path = own.site.place.path("secrets")
    own.site.place.server.request("POST", path, {"metadata": {"name": "finetune-engine-key"}, "stringData": {"key": KEY}})
    try:
        own.site.wait_phase("Healthy", "keyed")
        assert len(engine.log) == 1
    finally:
        own.site.place.server.request("DELETE", f"{path}/finetune-engine-key")
    assert KEY not in operator.log_file.read_text()


TROUBLE: dict[str, tuple[tuple[str, ...], dict[str, str], str, str]] = {
    "nowhere": ((), {"adapterMountPath": "/no/such/place"}, "AdapterNotFound", "server.external.adapterMountPath"),
    "off": (("--no-runtime-updates",), {}, "RuntimeLoadingOff", "VLLM_ALLOW_RUNTIME_LORA_UPDATING"),
    "base": ((), {"baseModelName": "org/other"}, "BaseNotServed", "spec.server.external.baseModelName"),
}


@pytest.mark.parametrize("name", TROUBLE)
def test_what_an_engine_lacks_is_said_and_passes_once_it_is_there(own: OwnSite, operator: OperatorProcess, name: str) -> None:
    options, changes, reason, way_out = TROUBLE[name]
    engine = own.add_engine(name, *options)
    adapter = own.site.publish(20 + list(TROUBLE).index(name))
    own.apply(adapter, name, server=own.server(name, **changes))
    own.site.wait(lambda _: reason in own.site.condition("Ready", name).get("message", ""), reason, name)
    message = own.site.condition("Ready", name)["message"]
    assert engine.pod in message
    assert way_out in message
    if options:
        engine.stop()
        engine.arguments = ()
        engine.start()
    own.apply(adapter, name, server=own.server(name))
    own.site.wait_phase("Healthy", name)


def test_an_adapter_that_changes_nothing_is_taken_out_again_and_one_that_is_refused_three_times_is_given_up(
    own: OwnSite, operator: OperatorProcess
) -> None:
    vain, refusing = own.add_engine("vain"), own.add_engine("refusing")
    idle = publish(AdapterFiles(seed=30, scale=0.0), own.site.volume)
    dora = publish(AdapterFiles(seed=31, config={"use_dora": True}), own.site.volume)
    without = own.apply(idle, "vain")
    own.apply(dora, "refusing")
    own.site.wait(lambda _: own.site.condition("Ready", "vain").get("reason") == "NoEffect", "NoEffect", "vain")
    until(lambda: vain.log == [f"load {without}", f"unload {without}"])
    own.site.wait(lambda _: own.site.condition("Ready", "refusing").get("reason") == "LoadFailed", "LoadFailed", "refusing")
    assert "vLLM does not yet support DoRA" in own.site.condition("Ready", "refusing")["message"]
    assert refusing.log == []
    failed = 'finetune_engine_pushes_total{result="failed",step="load"}'
    before = operator.metric(failed)
    own.site.place.server.request("PATCH", own.site.path("refusing"), {"spec": {"retry": "2"}}, MERGE)
    until(lambda: operator.metric(failed) >= before + 3)
    off = {"requireEvaluation": False, "effectProbe": "Off"}
    own.site.place.server.request("PATCH", own.site.path("vain"), {"spec": {"preflight": off, "retry": "2"}}, MERGE)
    own.site.wait_phase("Healthy", "vain")
