"""A real agent beside a fake engine: it holds what the status of its AdapterDeployment asks for."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from finetune_testbed import faults, lifecycle
from finetune_testbed import processes as daemons
from finetune_testbed.apiserver import ApiServer
from finetune_testbed.bed import Tier
from finetune_testbed.faults import Fault
from finetune_testbed.proxy import Proxy
from tests.cluster.serving.accounts import agent_rules
from tests.cluster.serving.place import Place
from tests.engines.artifacts import Published
from tests.engines.forked import until
from tests.process.agent.conftest import Pod

NAME = "bot"


@pytest.fixture
def pod(here: Place, tmp_path: Path) -> Iterator[Pod]:
    """A pod of the deployment with its engine; the agent is started by the test."""
    folder = tmp_path / "pod"
    folder.mkdir()
    made = Pod(folder)
    here.grant(agent_rules(NAME))
    here.deploy(NAME, NAME)
    made.start_engine()
    try:
        yield made
    finally:
        made.close()


def start(pod: Pod, here: Place, name: str = NAME) -> None:
    pod.start_agent(source=("--adapter-deployment", name, "--namespace", here.namespace, *here.access))


def entry(published: Published) -> dict[str, Any]:
    return {"name": published.name(NAME), "uri": published.uri, "digest": published.digest}


def source(pod: Pod) -> tuple[str, str]:
    status = pod.status()
    return status["source"], status.get("sourceMessage", "")


def until_applied(pod: Pod, generation: int) -> None:
    until(pod.status, lambda status: status["appliedGeneration"] == generation, f"generation {generation}")


def test_what_a_status_asks_for_is_loaded_and_what_it_leaves_out_is_unloaded(pod: Pod, here: Place) -> None:
    one, two = pod.publish(1), pod.publish(2)
    start(pod, here)
    until(lambda: source(pod), lambda found: found == ("None", "status.desired: nothing is wanted yet"), "nothing wanted")
    here.desire(NAME, 1, [entry(one)])
    until_applied(pod, 1)
    assert source(pod) == ("Current", "")
    here.desire(NAME, 2, [entry(two)])
    until_applied(pod, 2)
    assert set(pod.listed()) == {two.name(NAME)}
    assert pod.ready()


def test_an_object_that_is_gone_changes_nothing_and_one_that_comes_back_is_heeded(pod: Pod, here: Place) -> None:
    one, two = pod.publish(1), pod.publish(2)
    here.desire(NAME, 7, [entry(one)])
    start(pod, here)
    until_applied(pod, 7)
    here.remove(NAME)
    until(lambda: source(pod), lambda found: found == ("LastGood", f"there is no AdapterDeployment {here.namespace}/{NAME}"), "gone")
    assert pod.ready()
    here.deploy(NAME, NAME)
    until(lambda: source(pod), lambda found: found == ("LastGood", "status.desired: nothing is wanted yet"), "back, without status")
    assert set(pod.listed()) == {one.name(NAME)}
    here.desire(NAME, 1, [entry(two)])
    until_applied(pod, 1)
    assert set(pod.listed()) == {two.name(NAME)}


def test_the_last_good_set_outlives_the_api_server_and_both_outlive_a_restart(pod: Pod, here: Place) -> None:
    one, two = pod.publish(1), pod.publish(2)
    here.desire(NAME, 1, [entry(one)])
    start(pod, here)
    until_applied(pod, 1)
    record = daemons.read_record(here.bed, "kube-apiserver")
    assert record is not None
    os.kill(record.pid, signal.SIGKILL)
    try:
        until(lambda: source(pod), lambda found: found[0] == "LastGood" and "is away" in found[1], "API server away")
        assert pod.ready()
        pod.agent.kill()
        pod.engine.kill()
        pod.start_engine()
        start(pod, here)
        pod.until_ready()
        assert source(pod)[0] == "LastGood"
    finally:
        lifecycle.up(here.bed.name, Tier.T1, print, {"fsync": False})
    until(lambda: source(pod), lambda found: found == ("Current", ""), "API server back")
    with ApiServer(here.bed) as server:
        here.desire(NAME, 2, [entry(two)], server)
    until_applied(pod, 2)


def test_a_watch_is_opened_anew_whatever_ends_it(pod: Pod, here: Place, through: Proxy) -> None:
    adapters = [pod.publish(seed) for seed in range(4)]
    here.desire(NAME, 1, [entry(adapters[0])])
    start(pod, here)
    until_applied(pod, 1)
    through.cut_watches()
    here.desire(NAME, 2, [entry(adapters[1])])
    until_applied(pod, 2)
    through.expire_watches()
    here.desire(NAME, 3, [entry(adapters[2])])
    until_applied(pod, 3)
    through.set_rule(lambda _call: Fault.THROTTLED)
    through.cut_watches()
    until(lambda: source(pod), lambda found: found[0] == "LastGood" and "429" in found[1], "throttled")
    here.desire(NAME, 4, [entry(adapters[3])])
    through.set_rule(faults.never)
    until_applied(pod, 4)
    assert source(pod) == ("Current", "")


def test_another_object_is_none_of_its_business(pod: Pod, here: Place) -> None:
    here.deploy("other", "other")
    here.desire("other", 1, [])
    start(pod, here, "other")
    until(lambda: source(pod), lambda found: "list adapterdeployments: 403 Forbidden" in found[1], "refused")
    assert source(pod)[0] == "None"
