"""What do the admission policies cost whoever applies a job? Wall time of one request, by turns with and without them.

    python -m tests.performance admission_cost

A real API server runs each request to its end and stores nothing. The job is one that satisfies every rule of its namespace; the other
namespace is not governed, so that there no policy is evaluated.
"""

import statistics
import time

from finetune_testbed import testing
from finetune_testbed.bed import Tier
from tests.cluster.admission import governed
from tests.cluster.admission.governed import ALICE, CLINIC, Site, job, jobs
from tests.cluster.chart import Helm
from tests.performance.report import Limit, Section

MOST_MILLISECONDS = 50.0


def run(full: bool) -> Section:
    """400 requests in each namespace, or 60 for a quick look; the milliseconds are a limit at full size only."""
    with testing.running(Tier.T1, "bench-admission", progress=lambda _text: None, fsync=False) as bed, governed.site(bed) as site:
        site.enforce(Helm(bed))
        places = {"governed": site.namespace(CLINIC), "not governed": site.namespace({})}
        cost: dict[str, list[float]] = {name: [] for name in places}
        for _ in range(400 if full else 60):
            for name, namespace in places.items():
                cost[name].append(_milliseconds(site, namespace))
    rows = [(name, f"{statistics.median(taken):.1f}", f"{sorted(taken)[int(0.9 * len(taken))]:.1f}") for name, taken in cost.items()]
    added = statistics.median(cost["governed"]) - statistics.median(cost["not governed"])
    return Section(
        title="Applying a job in a governed namespace",
        flags="server-side dry run of one FineTuneJob, one client, by turns; the API server's own evaluation included.",
        columns=("Namespace", "Median, ms", "90th percentile, ms"),
        rows=tuple(rows),
        limits=(Limit("milliseconds added, median", added, MOST_MILLISECONDS),) if full else (),
    )


def _milliseconds(site: Site, namespace: str) -> float:
    started = time.monotonic()
    site.ask(ALICE, "POST", f"{jobs(namespace)}?dryRun=All", job("new"))
    return (time.monotonic() - started) * 1e3
