"""Fixtures `t1`, `t2` and `t3`: a testbed per session and tier, started when the first test asks for it.

A tier that cannot start fails the tests that need it. `--allow-missing-tier T3` turns that into skips with the reason,
except in CI. The summary at the end names every tier with its counts, so that none is missing in silence.
"""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from finetune_testbed import lifecycle, testing
from finetune_testbed.bed import Testbed, Tier
from finetune_testbed.failures import EXPLAINED

TIERS = ("T0", "T1", "T2", "T3")
FOLDER_GROUPS = {"cluster": "control planes", "e2e": "node"}
FOLDER_TIERS = {"unit": "T0", "process": "T0", "cluster": "T1", "e2e": "T3"}
PROPERTY = "tier"
MISSING = "missing tiers"


class TierCounts:
    """Outcomes by tier, gathered from reports (also from those of other worker processes)."""

    def __init__(self) -> None:
        self.outcomes: dict[str, Counter[str]] = defaultdict(Counter)
        self.missing: dict[str, str] = {}

    @pytest.hookimpl
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        tier = dict(report.user_properties).get(PROPERTY)
        if tier is None:
            return
        if report.when == "call" or (report.when == "setup" and report.outcome == "skipped"):
            self.outcomes[str(tier)][report.outcome] += 1
        elif report.outcome == "failed":
            self.outcomes[str(tier)]["failed"] += 1

    @pytest.hookimpl
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """A worker process tells the one that prints the summary."""
        if (told := getattr(session.config, "workeroutput", None)) is not None:
            told[MISSING] = {str(tier): reason for tier, reason in self.missing.items()}

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: object) -> None:
        self.missing.update(getattr(node, "workeroutput", {}).get(MISSING, {}))

    @pytest.hookimpl
    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        terminalreporter.section("tiers")
        for tier in TIERS:
            counts = self.outcomes[tier]
            words = [f"{counts[word]} {word}" for word in ("passed", "failed", "skipped") if counts[word]]
            reason = f" - cannot start: {self.missing[tier]}" if tier in self.missing else ""
            terminalreporter.line(f"{tier}  {', '.join(words) or 'no test selected'}{reason}")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--allow-missing-tier",
        action="append",
        default=[],
        choices=TIERS[1:],
        metavar="TIER",
        help="skip, by name, the tests of a tier that cannot start here (ignored where CI=true)",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_COUNTS] = TierCounts()
    config.pluginmanager.register(config.stash[_COUNTS], "finetune-tier-counts")


_COUNTS: pytest.StashKey[TierCounts] = pytest.StashKey()


def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark each test with its tier, so that `-m t2` selects and the summary counts."""
    tier = tier_of(item)
    item.user_properties.append((PROPERTY, tier))
    if tier != "T0" and item.get_closest_marker(tier.lower()) is None:
        item.add_marker(tier.lower())


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Worker processes (`-n 2 --dist loadscope`) share no testbed: one of them runs all tests of the node, one all of control planes.

    Every other file goes to whichever is free. (`--dist loadgroup` would do it by marks, but does nothing under pytest 9.2.)
    """
    from xdist.scheduler import LoadScopeScheduling  # noqa: PLC0415 - there only where tests run in several processes

    class ByTestbed(LoadScopeScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            return group_of(nodeid)

    return ByTestbed(config, log)


def group_of(nodeid: str) -> str:
    """What stays together in one process, and in its order."""
    file = nodeid.partition("::")[0]
    return next((FOLDER_GROUPS[part] for part in file.split("/")[:-1] if part in FOLDER_GROUPS), file)


def tier_of(item: pytest.Item) -> str:
    """From its marker; else from the highest tier whose fixture it uses; else from its folder."""
    tier: str
    for tier in reversed(TIERS[1:]):
        if item.get_closest_marker(tier.lower()) is not None:
            return tier
    used = getattr(item, "fixturenames", ())
    for tier in reversed(TIERS[1:]):
        if tier.lower() in used:
            return tier
    return next((FOLDER_TIERS[part] for part in reversed(item.path.parent.parts) if part in FOLDER_TIERS), "T0")


@pytest.fixture(scope="session")
def t1(request: pytest.FixtureRequest) -> Iterator[Testbed]:
    """An API server with its etcd; nothing acts on what is stored."""
    yield from _session_testbed(request, Tier.T1)


@pytest.fixture(scope="session")
def t2(request: pytest.FixtureRequest) -> Iterator[Testbed]:
    """A control plane with fake GPU nodes, whose pods end as `finetune_testbed.outcomes` says."""
    yield from _session_testbed(request, Tier.T2)


@pytest.fixture(scope="session")
def t3(request: pytest.FixtureRequest) -> Iterator[Testbed]:
    """A cluster with a real node."""
    yield from _session_testbed(request, Tier.T3)


@pytest.fixture(scope="session")
def t3_host(request: pytest.FixtureRequest) -> None:
    """A host on which tests can start T3 testbeds of their own, and from which what killed sessions left is gone.

    Another worker process would sweep it while a test compares the host before and after.
    """
    try:
        testing.sweep(_progress(request, Tier.T3))
        lifecycle.prepare_host(Tier.T3, _progress(request, Tier.T3))
    except EXPLAINED as error:
        _report_missing(request.config, Tier.T3, str(error))


def _progress(request: pytest.FixtureRequest, tier: Tier) -> Callable[[str], None]:
    reporter = request.config.pluginmanager.get_plugin("terminalreporter")

    def progress(text: str) -> None:
        if reporter is not None and request.config.get_verbosity() > 0:
            reporter.write_line(f"{tier}: {text}")

    return progress


def _session_testbed(request: pytest.FixtureRequest, tier: Tier) -> Iterator[Testbed]:
    keep = os.environ.get("FINETUNE_TESTBED_KEEP") == "1"
    progress = _progress(request, tier)
    try:
        testing.sweep(progress)
        context = testing.running(tier, testing.session_name(tier, keep=keep), keep=keep, progress=progress, fsync=False)
        bed = context.__enter__()
    except EXPLAINED as error:
        _report_missing(request.config, tier, str(error))
    try:
        yield bed
    finally:
        context.__exit__(None, None, None)


def _report_missing(config: pytest.Config, tier: Tier, reason: str) -> None:
    config.stash[_COUNTS].missing[tier] = reason.splitlines()[0]
    allowed = tier in config.getoption("--allow-missing-tier") and os.environ.get("CI") != "true"
    if allowed:
        pytest.skip(f"tier {tier} cannot start: {reason.splitlines()[0]}")
    pytest.fail(f"tier {tier} cannot start: {reason}", pytrace=False)
