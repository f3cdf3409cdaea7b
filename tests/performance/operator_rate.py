"""Complete runs per second of FineTuneJobs against bare Jobs of the same number and shape, three in sequence per run.

The bare side is a loop over one watch that creates the next Job of a chain when the one before is complete: what a person's
script would do with Kubernetes alone. Both sides use the same control plane, the same Stages and the same pods, in interleaved pairs.
"""

import http.client
import json
import ssl
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Self

from finetune_operator.api.base import LABEL_JOB
from finetune_testbed import testing
from finetune_testbed.apiserver import ApiServer
from finetune_testbed.audit import AuditLog, Call
from finetune_testbed.bed import Testbed, Tier
from tests.cluster import finetunejobs, operator_process
from tests.cluster.finetunejobs import Place
from tests.cluster.operator_process import until
from tests.performance.report import Limit, Section

STEPS = 3
CLIENTS = 16
CHAIN = "tests.finetune.dev/chain"


def run(full: bool = False) -> Section:
    """Pairs of bare and operated runs, and the delay from create to child Job at a steady pace."""
    pairs, runs, paced = (5, 100, 60.0) if full else (1, 20, 6.0)
    with testing.running(Tier.T2, "bench-rate", progress=lambda _text: None, fsync=False) as bed, tempfile.TemporaryDirectory() as folder:
        delays = create_delays(bed, Path(folder), pace=5.0, seconds=paced)  # before the pairs, whose leftovers take minutes to go
        rows, ratios = [], []
        for number in range(1, pairs + 1):
            bare = bare_rate(bed, runs)
            operated = operator_rate(bed, Path(folder), runs)
            ratios.append(operated / bare)
            rows.append((str(number), f"{bare:.2f}", f"{operated:.2f}", f"{operated / bare:.2f}"))
    p50, p99 = statistics.median(delays), quantile(delays, 0.99)
    rows.append((f"create → Job, {len(delays)} at 5/s", "", f"p50 {p50 * 1000:.0f} ms, p99 {p99 * 1000:.0f} ms", ""))
    limits = [Limit("runs/s of FineTuneJobs against bare Jobs (median of pairs)", statistics.median(ratios), 0.5, at_most=False)]
    if full:
        limits.append(Limit("p99 from create to child Job at 5/s, seconds", p99, 0.25))
    return Section(
        title="Runs per second",
        flags=f"T2, {runs} runs of {STEPS} Jobs each, {CLIENTS} clients, controller QPS 200, 20 Job syncs, etcd without fsync, "
        "pods end at once.",
        columns=("Pair", "bare Jobs, runs/s", "FineTuneJobs, runs/s", "ratio"),
        rows=tuple(rows),
        limits=tuple(limits),
    )


def operator_rate(bed: Testbed, folder: Path, runs: int) -> float:
    """Runs per second from the first create to the last run's end."""
    with finetunejobs.place(bed) as here, operator_process.running(bed.kubeconfig, folder, ("--namespace", here.namespace)):
        names = [f"run-{number}" for number in range(runs)]
        ended: set[str] = set()

        def notice(document: dict[str, Any]) -> None:
            outcome = (document.get("status") or {}).get("currentRun", {}).get("outcome")
            if outcome:
                assert outcome == "Succeeded", document["status"]
                ended.add(document["metadata"]["name"])

        with Follow(bed, here.job_path(), notice):
            began = time.monotonic()
            at_once(bed, names, lambda server, name: create_job(here, server, name))
            until(lambda: len(ended) == runs, 600)
            return runs / (time.monotonic() - began)


def bare_rate(bed: Testbed, runs: int) -> float:
    """The same number of Jobs without an operator: chains of three, each created when the one before is complete."""
    with finetunejobs.place(bed) as here:
        template = job_template(bed, here)
        done: dict[str, set[int]] = {}
        queue = ThreadPoolExecutor(CLIENTS)
        local = threading.local()
        finished: set[str] = set()

        def create(chain: str, step: int) -> None:
            if not hasattr(local, "server"):
                local.server = ApiServer(bed, finetunejobs.REQUEST_SECONDS)
            document = json.loads(template)
            document["metadata"] = {"name": f"{chain}-{step}", "labels": {CHAIN: chain, LABEL_JOB: chain}}
            local.server.request("POST", here.batch_path(), document)

        def notice(document: dict[str, Any]) -> None:
            conditions = (document.get("status") or {}).get("conditions") or []
            if not any(c["type"] == "Complete" and c["status"] == "True" for c in conditions):
                return
            chain, _, step = document["metadata"]["name"].rpartition("-")
            seen = done.setdefault(chain, set())
            if int(step) in seen:
                return
            seen.add(int(step))
            if int(step) == STEPS:
                finished.add(chain)
            else:
                queue.submit(create, chain, int(step) + 1)

        with Follow(bed, here.batch_path(), notice):
            began = time.monotonic()
            for number in range(runs):
                queue.submit(create, f"bare-{number}", 1)
            until(lambda: len(finished) == runs, 600)
            rate = runs / (time.monotonic() - began)
        queue.shutdown()
        return rate


def create_delays(bed: Testbed, folder: Path, *, pace: float, seconds: float) -> list[float]:
    """Seconds from the create to the first child Job at a steady pace, by the API server's own clock.

    From the moment it received the one request to the moment it had stored what the other brought: what this process takes to see it is
    not the operator's doing.
    """
    seen: set[str] = set()
    names = [f"paced-{number}" for number in range(int(pace * seconds))]
    with finetunejobs.place(bed) as here, operator_process.running(bed.kubeconfig, folder, ("--namespace", here.namespace)):

        def notice(document: dict[str, Any]) -> None:
            seen.add(document["metadata"]["labels"].get(LABEL_JOB, ""))

        with Follow(bed, here.batch_path(), notice), ApiServer(bed, finetunejobs.REQUEST_SECONDS) as server:
            create_job(here, server, "warm")  # within two seconds of its definition the API server holds up the first create of a kind
            until(lambda: "warm" in seen, 60)
            log = AuditLog(bed)
            mark = log.mark()
            begin = time.monotonic()
            for number, name in enumerate(names):
                time.sleep(max(0.0, begin + number / pace - time.monotonic()))
                create_job(here, server, name)
            until(lambda: seen >= set(names), 60)
            return delays_of(log.calls(mark, log.mark()), here.namespace, names)


def delays_of(calls: Iterable[Call], namespace: str, names: Sequence[str]) -> list[float]:
    """From the create of each FineTuneJob to its first Job, in seconds. Raises `KeyError` for a name that has either not."""
    created: dict[str, datetime] = {}
    child: dict[str, datetime] = {}
    for call in calls:
        if call.verb != "create" or call.namespace != namespace or call.status != http.client.CREATED:
            continue
        if call.resource == "finetunejobs":
            created[call.name] = call.received
        elif call.resource == "jobs":
            stored = call.received + timedelta(seconds=call.seconds)
            parent = call.name.rsplit("-", 3)[0]
            child[parent] = min(stored, child.get(parent, stored))
    return [(child[name] - created[name]).total_seconds() for name in names]


def create_job(here: Place, server: ApiServer, name: str) -> None:
    server.request("POST", here.job_path(), finetunejobs.manifest(name, here.namespace))


def job_template(bed: Testbed, here: Place) -> str:
    """A Job of the shape the operator makes: its own, from a run whose operator is then stopped."""
    with tempfile.TemporaryDirectory() as folder, operator_process.running(bed.kubeconfig, Path(folder), ("--namespace", here.namespace)):
        here.apply("template")
        job = until(lambda: here.jobs("template"))[0]
        here.wait_ended("template")
        here.delete("template")
        until(lambda: not here.jobs("template"))
    spec = job["spec"]
    for key in ("selector", "manualSelector"):
        spec.pop(key, None)
    labels = spec["template"]["metadata"]["labels"]
    for key in [key for key in labels if "controller-uid" in key or "job-name" in key]:
        del labels[key]
    return json.dumps({"apiVersion": "batch/v1", "kind": "Job", "spec": spec})


def at_once(bed: Testbed, names: list[str], act: Callable[[ApiServer, str], None]) -> None:
    """The same for every name, from several clients."""
    local = threading.local()

    def one(name: str) -> None:
        if not hasattr(local, "server"):
            local.server = ApiServer(bed, finetunejobs.REQUEST_SECONDS)
        act(local.server, name)

    with ThreadPoolExecutor(CLIENTS) as pool:
        list(pool.map(one, names))


class Follow:
    """A watch of one collection on a thread of its own."""

    def __init__(self, bed: Testbed, path: str, notice: Callable[[dict[str, Any]], None]) -> None:
        self._bed, self._path, self._notice = bed, path, notice

    def __enter__(self) -> Self:
        context = ssl.create_default_context(cafile=self._bed.pki / "ca.crt")
        context.load_cert_chain(self._bed.pki / "admin.crt", self._bed.pki / "admin.key")
        self._connection = http.client.HTTPSConnection("127.0.0.1", self._bed.ports.apiserver, context=context)
        self._connection.request("GET", f"{self._path}?watch=true")
        self._response = self._connection.getresponse()
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._connection.sock is not None:
            self._connection.sock.shutdown(2)
        self._thread.join(5)
        self._connection.close()

    def _follow(self) -> None:
        while line := self._response.readline():
            event = json.loads(line)
            if event["type"] in {"ADDED", "MODIFIED"}:
                self._notice(event["object"])


def quantile(values: list[float], share: float) -> float:
    """The smallest value that at least this share of all values does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, round(share * len(ordered)) - 1))]
