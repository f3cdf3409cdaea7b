"""Checks of a share of failures: requests that failed, answers that did not fit the output schema."""

from collections.abc import Iterator

from finetune_operator.domain.analysis.bounds import difference_low, wilson
from finetune_operator.domain.analysis.checks import CheckResult, Remark, decisive, fails, passes, undecided
from finetune_operator.domain.analysis.criteria import CheckName, ShareLimits
from finetune_operator.domain.analysis.eprocess import Window, evidence

_FAILED = {CheckName.ERRORS: "requests failed", CheckName.SCHEMA: "answers did not fit the output schema"}


def check_share(check: CheckName, windows: tuple[Window, ...], limits: ShareLimits, enough: int, alarm: float) -> CheckResult:
    """``windows`` end with the present step's, whose rates the limits are about; the evidence is that of all."""
    now = windows[-1]
    remark = decisive(_remarks(windows, limits, enough, alarm))
    canary, stable = _rate(now.canary_failed, now.canary), _rate(now.stable_failed, now.stable)
    message = (
        f"{check.value}: {now.canary_failed} of {now.canary} canary {_FAILED[check]}{_percent(canary)}, "
        f"of stable {now.stable_failed} of {now.stable}{_percent(stable)}; {remark.why}"
    )
    return CheckResult(check, remark.finding, canary, stable, now.canary, now.stable, remark.bound, message)


def _remarks(windows: tuple[Window, ...], limits: ShareLimits, enough: int, alarm: float) -> Iterator[Remark]:
    value = evidence(windows)
    found = f"evidence that the canary fails more often{' with the steps before' if len(windows) > 1 else ''} is {_capped(value)}"
    bound = f"evidence < {alarm:g}"
    yield fails(bound, f"{found}, the alarm is at {alarm:g}") if value >= alarm else passes(bound, found)
    if windows[-1].canary < max(1, enough):
        yield undecided(f"≥ {enough} samples", f"{enough} are needed to tell")
        return
    yield from _of_rate(windows[-1], limits.max_rate)
    yield from _of_delta(windows[-1], limits.max_delta, enough)


def _of_rate(now: Window, most: float | None) -> Iterator[Remark]:
    if most is None:
        return
    low = wilson(now.canary_failed, now.canary).low
    if low > most:
        yield fails(f"≤ {most:g}", f"beyond doubt above {low:.2g}, and at most {most:g} is allowed")
    elif now.canary_failed / now.canary > most:
        yield undecided(f"≤ {most:g}", f"above {most:g}, but more are needed to be sure")


def _of_delta(now: Window, most: float | None, enough: int) -> Iterator[Remark]:
    if most is None or not now.stable:
        return
    bound = f"≤ stable + {most:g}"
    if now.stable >= enough and difference_low(now.canary_failed, now.canary, now.stable_failed, now.stable) > most:
        yield fails(bound, f"beyond doubt more than {most:g} above stable")
    elif now.canary_failed / now.canary - now.stable_failed / now.stable > most:
        yield undecided(bound, f"more than {most:g} above stable, but more are needed to be sure")


def _rate(failed: int, total: int) -> float | None:
    return failed / total if total else None


def _percent(share: float | None) -> str:
    return "" if share is None else f" ({100 * share:.3g}%)"


def _capped(value: float) -> str:
    if value >= 1e6:
        return "over 1000000"
    return f"{value:.3g}" if value < 1000 else f"{value:.0f}"
