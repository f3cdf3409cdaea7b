"""What thousands of finished FineTuneJobs cost an operator that has nothing to do: time to know them, memory, CPU and writes.

The objects are copies of a real one: a run is made, its status with five history entries becomes every object's status, and each is at
least 7 KB as the API server sends it.
"""

import copy
import json
import tempfile
import time
from pathlib import Path
from typing import Any

from finetune_testbed import testing
from finetune_testbed.apiserver import ApiServer
from finetune_testbed.audit import AuditLog
from finetune_testbed.bed import Testbed, Tier
from tests.cluster import finetunejobs, operator_process
from tests.cluster.finetunejobs import Place
from tests.cluster.operator_process import until
from tests.performance.operator_rate import at_once
from tests.performance.report import Limit, Section

RUNS = 5
SMALLEST = 7_000
MEBI = 1 << 20


def run(full: bool = False) -> Section:
    """Seed, start, measure at rest."""
    objects, window = (10_000, 600.0) if full else (200, 5.0)
    with (
        testing.running(Tier.T2, "bench-idle", progress=lambda _text: None) as bed,
        tempfile.TemporaryDirectory() as folder,
        finetunejobs.place(bed, clean=False) as here,
    ):
        with operator_process.running(bed.kubeconfig, Path(folder), ("--namespace", here.namespace)) as operator:
            size = seed_first(here)
            empty = operator.rss()
        seed_copies(bed, here, objects - 1)
        found = measure(bed, here, Path(folder), objects, window)
    growth = (found.rss - empty) / objects / 1024
    limits = [
        Limit("writes at rest", found.writes, 0),
        Limit("bytes of an object", size, SMALLEST, at_most=False),
    ]
    if full:
        limits += [
            Limit("resident memory, MB", found.rss / 1e6, 500),
            Limit("CPU at rest, percent of a core", 100 * found.cpu, 1.0),
            Limit("seconds from start to all known", found.sync, 60),
        ]
    rows = (
        ("objects", str(objects)),
        ("size of one", f"{size} bytes, {RUNS} history entries"),
        ("start to all known", f"{found.sync:.1f} s"),
        ("start to all decided", f"{found.settled:.1f} s"),
        ("resident memory", f"{found.rss / MEBI:.0f} MiB ({growth:.1f} KiB per object)"),
        (f"CPU at rest over {window:.0f} s", f"{100 * found.cpu:.2f} %"),
        ("writes at rest", str(found.writes)),
    )
    return Section(
        "Finished objects at rest",
        "T2, one namespace, FineTuneJobs listed in pages of 100 and watched.",
        ("Figure", "Value"),
        rows,
        tuple(limits),
    )


class Found:
    """One measurement."""

    def __init__(self, *, sync: float, settled: float, rss: int, cpu: float, writes: int) -> None:
        self.sync, self.settled, self.rss, self.cpu, self.writes = sync, settled, rss, cpu, writes


def measure(bed: Testbed, here: Place, folder: Path, objects: int, window: float) -> Found:
    """Start an operator on objects that are there, and watch it do nothing."""
    log = AuditLog(bed)
    mark = log.mark()
    operator = operator_process.start(bed.kubeconfig, folder, ("--namespace", here.namespace), wait=False)
    try:
        operator.wait_in_sync(300)
        sync = operator.metric("finetune_sync_seconds")
        until(lambda: operator.metric('finetune_reconcile_total{kind="FineTuneJob",result="idle"}') >= objects, 600, every=0.5)
        settled = time.monotonic() - operator.started
        before, began = operator.cpu_seconds(), time.monotonic()
        time.sleep(window)
        cpu = (operator.cpu_seconds() - before) / (time.monotonic() - began)
        writes = [call for call in log.writes("finetune-operator", since=mark) if not call.is_lease]
        return Found(sync=sync, settled=settled, rss=operator.rss(), cpu=cpu, writes=len(writes))
    finally:
        operator.stop()


def seed_first(here: Place) -> int:
    """One object with as many real runs as the history holds; its size in bytes."""
    here.apply("idle-0")
    for number in range(1, RUNS + 1):
        if number > 1:
            here.patch("idle-0", {"rerun": f"round {number}"})
        assert here.wait_ended("idle-0") == "Succeeded"
    document = here.get("idle-0")
    assert len(document["status"]["history"]) == RUNS
    return len(json.dumps(document, separators=(",", ":")))


def seed_copies(bed: Testbed, here: Place, count: int) -> None:
    """Objects with the first one's spec and status, from several clients."""
    first = here.get("idle-0")

    def create(server: ApiServer, name: str) -> None:
        document = copy.deepcopy({key: first[key] for key in ("apiVersion", "kind", "spec")})
        document["metadata"] = {"name": name, "namespace": here.namespace}
        created: dict[str, Any] = server.request("POST", here.job_path(), document)
        created["status"] = adjusted(first["status"], created["metadata"]["generation"])
        server.request("PUT", f"{here.job_path(name)}/status", created)

    at_once(bed, [f"idle-{number}" for number in range(1, count + 1)], create)


def adjusted(status: dict[str, Any], generation: int) -> dict[str, Any]:
    """The status as it would be for an object whose spec never changed."""
    document = copy.deepcopy(status)
    document["observedGeneration"] = document["accepted"]["generation"] = generation
    document["currentRun"]["generation"] = generation
    for entry in (*document["conditions"],):
        entry["observedGeneration"] = generation
    return document
