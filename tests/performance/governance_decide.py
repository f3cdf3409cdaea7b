"""What does a decision cost with fifty policies? Counted: how often each check is asked. Measured: processor time of one decision.

    python -m tests.performance governance_decide

The facts are those of a whole job at the stage with most to judge, once compliant and once with something wrong by every policy; all
fifty policies apply. Each decision is taken anew: nothing but the digest of a policy, which never changes, is kept between two.
"""

import importlib
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from unittest.mock import patch

from finetune_trainer.contract.governance import Facts, Finding, Policy, decide
from finetune_trainer.contract.governance.decide import CHECKS, POLICY_CHECKS
from tests.performance.report import Limit, Section
from tests.unit.governance.samples import FACTS, NOW, POLICY, changed

POLICIES, MOST_MILLISECONDS = 50, 5.0
REFUSED = {"trackers": ["https://tracker.example"], "images": ["trainer:latest"], "scan": None, "egress": "Open"}


def run(full: bool) -> Section:
    """300 decisions of each kind, or 50 for a quick look; the milliseconds are a limit at full size only."""
    policies = [Policy.model_validate({**POLICY, "name": f"policy-{number}"}) for number in range(POLICIES)]
    cases = (("compliant", {}), ("refused by every policy", REFUSED))
    rows, limits = [], []
    for name, changes in cases:
        facts = Facts.model_validate(changed(FACTS, changes))
        findings = len(decide(facts, policies, NOW).findings)
        cost = [_milliseconds(facts, policies) for _ in range(300 if full else 50)]
        middle = statistics.median(cost)
        rows.append((name, str(findings), f"{middle:.2f}", f"{sorted(cost)[int(0.9 * len(cost))]:.2f}"))
        if full:
            limits.append(Limit(f"milliseconds, {name}", middle, MOST_MILLISECONDS))
    asked = len(CHECKS) + POLICIES * len(POLICY_CHECKS)
    limits.append(Limit("checks asked for one decision", evaluations(Facts.model_validate(FACTS), policies), asked))
    return Section(
        title="A decision of governance with fifty policies that all apply",
        flags=f"{len(CHECKS)} checks of the facts, {len(POLICY_CHECKS)} of each policy; processor time, one thread.",
        columns=("Facts", "Findings", "Median, ms", "90th percentile, ms"),
        rows=tuple(rows),
        limits=tuple(limits),
    )


def evaluations(facts: Facts, policies: list[Policy]) -> int:
    """How many checks are asked for one decision, counted at the functions themselves."""
    module = importlib.import_module("finetune_trainer.contract.governance.decide")  # the package's ``decide`` is the function
    calls = 0

    def counted(check: Callable[..., Iterator[Finding]]) -> Callable[..., Iterator[Finding]]:
        def asked(*arguments: object) -> Iterator[Finding]:
            nonlocal calls
            calls += 1
            return check(*arguments)

        return asked

    with ExitStack() as stack:
        for name in ("CHECKS", "POLICY_CHECKS"):
            stack.enter_context(patch.object(module, name, tuple(counted(check) for check in getattr(module, name))))
        decide(facts, policies, NOW)
    return calls


def _milliseconds(facts: Facts, policies: list[Policy]) -> float:
    started = time.process_time_ns()
    decide(facts, policies, NOW)
    return (time.process_time_ns() - started) / 1e6
