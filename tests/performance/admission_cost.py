"""What do the admission policies cost whoever applies a job or approves one? Wall time of one request, by turns with and without them.

    python -m tests.performance admission_cost

A real API server runs each request to its end and stores nothing. Job and approval satisfy every rule of their namespace, whose facts hold
20 policies and 200 datasets, and in which 100 jobs are stored, each of which is a parameter of the four eyes; the other namespace has as
many jobs and is not governed, so that there no policy is evaluated.
"""

import statistics
import time
from collections.abc import Callable

from finetune_testbed import testing
from finetune_testbed.apiserver import MERGE
from finetune_testbed.bed import Tier
from tests.cluster.admission import governed
from tests.cluster.admission.governed import (
    ALICE,
    BOB,
    CLINIC,
    DATA,
    DIGEST,
    OPERATOR,
    Object,
    Site,
    approval,
    approvals,
    dataset,
    job,
    jobs,
    policy,
)
from tests.cluster.chart import Helm
from tests.performance.report import Limit, Section

MOST_MILLISECONDS = 50.0
POLICIES, DATASETS, JOBS = 20, 200, 100


def run(full: bool) -> Section:
    """400 requests of each kind in each namespace, or 60 for a quick look; the milliseconds are a limit at full size only."""
    with testing.running(Tier.T1, "bench-admission", progress=lambda _text: None, fsync=False) as bed, governed.site(bed) as site:
        site.enforce(Helm(bed))
        places = {"governed": site.namespace(CLINIC), "not governed": site.namespace({})}
        for name, namespace in places.items():
            _settle(site, namespace, governs=name == "governed")
        kinds: dict[str, Callable[[str], tuple[str, str, Object]]] = {
            "a job": lambda namespace: (ALICE, jobs(namespace), job("new")),
            "an approval": lambda namespace: (BOB, approvals(namespace), approval("job-0", BOB)),
        }
        cost: dict[tuple[str, str], list[float]] = {(kind, name): [] for kind in kinds for name in places}
        for _ in range(400 if full else 60):
            for kind, request in kinds.items():
                for name, namespace in places.items():
                    cost[kind, name].append(_milliseconds(site, *request(namespace)))
    middle = {key: statistics.median(taken) for key, taken in cost.items()}
    rows = [
        (kind, name, f"{middle[kind, name]:.1f}", f"{sorted(taken)[int(0.9 * len(taken))]:.1f}") for (kind, name), taken in cost.items()
    ]
    ratios = ", ".join(f"{kind}: {middle[kind, 'governed'] / middle[kind, 'not governed']:.2f}" for kind in kinds)
    added = {kind: middle[kind, "governed"] - middle[kind, "not governed"] for kind in kinds}
    return Section(
        title="Applying a job, and approving one, in a governed namespace",
        flags=f"server-side dry runs, one client, by turns; 20 policies, 200 datasets and 100 jobs in the namespace. Ratios: {ratios}.",
        columns=("What", "Namespace", "Median, ms", "90th percentile, ms"),
        rows=tuple(rows),
        limits=tuple(Limit(f"milliseconds added to {kind}, median", ms, MOST_MILLISECONDS) for kind, ms in added.items()) if full else (),
    )


def _settle(site: Site, namespace: str, *, governs: bool) -> None:
    """Policies and data as an installation of some size has them, and jobs, of which one is decided."""
    for number in range(JOBS):
        site.ask(ALICE, "POST", jobs(namespace), job(f"job-{number}"))
    decided = {"status": {"governance": {"decision": "NeedsApproval", "digest": DIGEST, "classification": {"level": "confidential"}}}}
    site.ask(OPERATOR, "PATCH", f"{jobs(namespace, 'job-0')}/status", decided, MERGE)
    if governs:
        demands = [policy(f"policy-{number:02}", zones=["onprem-a", "eu-de"], dataSources=["pvc://data"]) for number in range(POLICIES)]
        site.tell(namespace, demands, [*DATA, *(dataset(f"data-{number:03}") for number in range(DATASETS))])
        site.until_found(set(), BOB, "POST", f"{approvals(namespace)}?dryRun=All", approval("job-0", BOB))


def _milliseconds(site: Site, user: str, path: str, body: Object) -> float:
    started = time.monotonic()
    site.ask(user, "POST", f"{path}?dryRun=All", body)
    return (time.monotonic() - started) * 1e3
