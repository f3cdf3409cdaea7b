"""How soon is a bad canary found, and how often is a good one rolled back? Simulated rollouts, every check on, looked at every 10 s.

    python -m tests.performance.canary_detection [--rollouts 20000]

The arithmetic is that of the operator's verdicts (tests/serving/canary proves the two equal). Three steps, 5, 25 and 50 percent, ten
minutes each, ten requests per second; stable fails 2 % of its requests and 2 % of its answers do not fit the schema, unless said otherwise.
"""

import argparse
import sys
from dataclasses import dataclass, field

import numpy as np

from finetune_operator.domain.analysis.criteria import CheckName
from tests.performance.report import Limit, Section
from tests.serving.canary.simulation import CHECKS, Course, Truth, simulate, upper_bound

FULL, QUICK = 20_000, 1_000
MOST_FALSE = 0.05


@dataclass(frozen=True)
class Case:
    name: str
    truth: Truth
    course: Course = field(default_factory=Course)

    @property
    def promised(self) -> bool:
        """Harmless, and with failures that do not depend on each other: what the bound on false rollbacks is about."""
        truth = self.truth
        return (truth.error_ratio, truth.invalid_ratio, truth.latency_ratio, truth.bundle) == (1.0, 1.0, 1.0, 1)


CASES = (
    Case("no difference", Truth()),
    Case("no difference, 100 requests/s", Truth(), Course(requests_per_second=100)),
    Case("no difference, 0.2% fail", Truth(errors=0.002, invalid=0.002)),
    Case("no difference, 5% fail, as the ceiling", Truth(errors=0.05, invalid=0.05)),
    Case("no difference, callers unequally busy", Truth(uneven=0.7)),
    Case("no difference, first weight 20%", Truth(), Course(weights=(20, 50))),
    Case("no difference, failures in bundles of 2", Truth(bundle=2)),
    Case("no difference, failures in bundles of 5", Truth(bundle=5)),
    Case("fails 2 times as often", Truth(error_ratio=2)),
    Case("fails 4 times as often", Truth(error_ratio=4)),
    Case("fails 10 times as often", Truth(error_ratio=10)),
    Case("fails 4 times as often, 1 request/s", Truth(error_ratio=4), Course(requests_per_second=1)),
    Case("fails 4 times as often, first weight 20%", Truth(error_ratio=4), Course(weights=(20, 50))),
    Case("fails 4 times as often, 0.2% base", Truth(errors=0.002, invalid=0.002, error_ratio=4)),
    Case("every answer of the wrong shape", Truth(invalid_ratio=50)),
    Case("first token and gaps 1.5 times as long", Truth(latency_ratio=1.5)),
    Case("first token and gaps 2 times as long", Truth(latency_ratio=2)),
    Case("first token and gaps 4 times as long", Truth(latency_ratio=4)),
)


def run(full: bool) -> Section:
    """20,000 rollouts for each line, or 1,000 for a quick look."""
    return measure(FULL if full else QUICK)


def measure(rollouts: int) -> Section:
    rows, limits = [], []
    for case in CASES:
        outcome = simulate(case.course, case.truth, rollouts)
        back = outcome.rolled_back
        hits = int(back.sum())
        median = ("-", "-", "-")
        if hits > rollouts / 2:
            times, requests = outcome.seconds[back], outcome.canary_requests[back]
            median = (f"{np.median(requests):,.0f}", f"{np.percentile(requests, 90):,.0f}", f"{np.median(times):,.0f}")
        found = max(CHECKS, key=outcome.share_by)
        by = found.value if hits > rollouts / 2 else "/".join(check.value for check in CheckName if outcome.share_by(check)) or "-"
        rows.append((case.name, f"{100 * hits / rollouts:.2f}%", *median, by))
        if case.promised:
            limits.append(Limit(f"upper 95% bound of false rollbacks, {case.name}", upper_bound(hits, rollouts), MOST_FALSE))
    columns = ("canary", "rolled back", "canary requests, median", "90th percentile", "seconds, median", "found by")
    flags = (
        f"{rollouts:,} simulated rollouts each: weights 5, 25, 50%, ten minutes each, 10 requests/s, a look every 10 s, four checks on, "
        "2% of stable's requests fail, unless said otherwise."
    )
    return Section("Finding a bad canary", flags, columns, tuple(rows), tuple(limits))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rollouts", type=int, default=FULL)
    section = measure(parser.parse_args().rollouts)
    print(section.to_markdown())
    return 0 if all(limit.holds for limit in section.limits) else 1


if __name__ == "__main__":
    sys.exit(main())
