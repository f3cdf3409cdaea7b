"""Killing the operator after any of its writes changes nothing about how a run ends."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from finetune_testbed.bed import Testbed
from finetune_testbed.proxy import Moment, Proxy, Strike, kill
from tests.cluster import finetunejobs, operator_process
from tests.cluster.finetunejobs import Place
from tests.cluster.job_watch import JobWatch
from tests.cluster.operator_process import until

WRITER = "finetune-operator"
MASKED = {
    "lastTransitionTime",
    "startedAt",
    "finishedAt",
    "updatedAt",
    "attemptStartedAt",
    "runningSeconds",
    "seconds",
    "name",
    "key",
    "message",
}


@pytest.fixture(scope="module")
def place(t2: Testbed) -> Iterator[Place]:
    with finetunejobs.place(t2) as shared:
        yield shared


def essence(value: Any) -> Any:
    """A status without what differs between any two runs."""
    if isinstance(value, dict):
        return {key: essence(item) for key, item in value.items() if key not in MASKED and not key.endswith(("igest", "ri"))}
    if isinstance(value, list):
        return [essence(item) for item in value]
    return value


def run_struck(here: Place, name: str, folder: Path, after: int, moment: Moment) -> tuple[bool, dict[str, Any], JobWatch]:
    """One run whose operator dies at its ``after``-th write (0: never) and is started again."""
    with Proxy(here.bed) as proxy, JobWatch(here.bed, here.namespace) as watch:
        kubeconfig = proxy.write_kubeconfig(folder / f"{name}.kubeconfig")
        arguments = ("--namespace", here.namespace)
        operator = operator_process.start(kubeconfig, folder, arguments)
        if after:
            proxy.set_strike(Strike(after, kill(operator.pid), moment))
        try:
            here.apply(name)
            until(lambda: proxy.has_struck or here.status(name).get("currentRun", {}).get("outcome"))
            if proxy.has_struck:
                operator.process.wait()
                operator = operator_process.start(kubeconfig, folder, arguments)
            here.wait_ended(name)
            settle(proxy)
            if not operator.running:  # it was killed at a write after the run's end, while this looked the other way
                operator.process.wait()
                operator = operator_process.start(kubeconfig, folder, arguments)
                settle(proxy)
            watch.catch_up()
        finally:
            operator.stop()
        return proxy.has_struck, here.status(name), watch


def created(watch: JobWatch, name: str) -> int:
    """How many Jobs this FineTuneJob ever had."""
    return len([job for job in watch.created if job.startswith(f"{name}-")])


def settle(proxy: Proxy, quiet: float = 0.7) -> None:
    """Until the operator has written nothing for a while."""
    count, since = len(proxy.writes(WRITER)), time.monotonic()
    while time.monotonic() - since < quiet:
        time.sleep(0.1)
        if len(proxy.writes(WRITER)) != count:
            count, since = len(proxy.writes(WRITER)), time.monotonic()


@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    ("moment", "stride"), [(Moment.COMMITTED, 1), (Moment.ANSWERED, 3)], ids=["every write, before its answer", "some, after it"]
)
def test_a_run_ends_the_same_whichever_write_was_the_operators_last(place: Place, tmp_path: Path, moment: Moment, stride: int) -> None:
    tag = moment.name[0].lower()
    struck, expected, watch = run_struck(place, f"calm-{tag}", tmp_path, 0, moment)
    assert not struck
    assert watch.overlaps == []
    jobs = created(watch, f"calm-{tag}")
    assert jobs == 3, "prepare, train and publish, one attempt each"
    after = 1
    while True:
        name = f"struck-{tag}{after}"
        struck, status, watch = run_struck(place, name, tmp_path, after, moment)
        if not struck:
            break
        where = f"killed at write {after}, {moment.value}"
        assert essence(status) == essence(expected), where
        assert watch.overlaps == [], where
        assert created(watch, name) == jobs, where
        assert len(status["history"]) == 1, where
        uid = place.get(name)["metadata"]["uid"]
        children = [*place.jobs(name), *place.config_maps(name)]
        assert all(child["metadata"]["ownerReferences"][0]["uid"] == uid for child in children), where
        after += stride
    assert after > 8, "the run was over before the operator had written what a run needs"
