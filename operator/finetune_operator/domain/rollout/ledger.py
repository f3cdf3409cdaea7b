"""The books of a rollout: the routers' counters when a step's bake began, and both arms' requests in the steps before.

They are all that the analysis needs to remember, so that it gives the same verdict after a restart; looking at it writes nothing.
"""

from collections.abc import Iterable, Mapping

from finetune_inference.contract import Track
from finetune_operator.api.adapterdeployment.status import (
    MAX_ROUTERS,
    RolloutStatus,
    RouterBaseline,
    SeriesBaseline,
    WindowStatus,
)
from finetune_operator.domain.analysis.counters import Baseline, Counts, Series, Totals, since, take_baseline
from finetune_operator.domain.analysis.criteria import Evidence, answer_window, error_window
from finetune_operator.domain.analysis.eprocess import Window
from finetune_operator.domain.analysis.histogram import Histogram
from finetune_operator.domain.rollout.draft import Draft
from finetune_operator.domain.rollout.traffic import unacknowledged

_BUCKETS, _IDENTITY = 64, 64


def open_books(draft: Draft) -> list[RouterBaseline] | None:
    """The baseline of a step that begins now; None while a router cannot be read, or there are too many of them for a status."""
    owner, routers = draft.scene.subject.owner, draft.scene.observed.routers
    if len(routers) > MAX_ROUTERS:
        return None
    taken = take_baseline((router.scrape for router in routers), owner.namespace, owner.name)
    if taken is None or not all(_fits(process, counts) for process, counts in taken.items()):
        return None
    versions = _arms(draft)
    return [_router(process, counts, versions) for process, counts in sorted(taken.items())]


def evidence_of(draft: Draft, rollout: RolloutStatus) -> Evidence:
    """What both arms have done since the step's bake began, and in the steps before."""
    owner, routers = draft.scene.subject.owner, draft.scene.observed.routers
    totals = since(_baseline(rollout.baseline), (router.scrape for router in routers), owner.namespace, owner.name)
    step = draft.step
    tracks = (Track.SHADOW,) if step is not None and step.shadow is not None else (Track.LIVE,)
    stable = draft.stable.version if draft.stable is not None else ""
    silent, names = {router.uid for router in unacknowledged(draft)}, {router.uid: router.name for router in routers}
    return Evidence(
        canary=_sum(totals, rollout.version, tracks, rollout.probing),
        stable=_sum(totals, stable, (Track.LIVE,), rollout.probing),
        earlier_errors=tuple(_window(window) for window in rollout.error_windows),
        earlier_answers=tuple(_window(window) for window in rollout.answer_windows),
        unread=tuple(sorted(names.get(uid, uid) for uid in {*totals.unread, *silent})) if routers else ("of this namespace",),
    )


def close_step(rollout: RolloutStatus, seen: Evidence) -> dict[str, list[WindowStatus]]:
    """The windows to remember once this step has ended; only the latest 16."""
    errors, answers = error_window(seen.canary, seen.stable), answer_window(seen.canary, seen.stable)
    return {
        "error_windows": [*rollout.error_windows, _window_status(errors)][-16:],
        "answer_windows": [*rollout.answer_windows, _window_status(answers)][-16:],
    }


def _sum(totals: Totals, version: str, tracks: tuple[Track, ...], probing: bool) -> Counts:
    """Probes complete errors and latencies; their answers say nothing about what users ask."""
    live = totals.of(version, *tracks)
    if not probing:
        return live
    probes = totals.of(version, Track.PROBE)
    return live.plus(Counts(probes.ok, probes.failed, 0, 0, probes.ttft, probes.itl))


def _arms(draft: Draft) -> frozenset[str]:
    both = [draft.stable.version if draft.stable is not None else "", draft.rollout.version if draft.rollout is not None else ""]
    return frozenset(version for version in both if version)


def _fits(process: tuple[str, str], counts: Mapping[Series, Counts]) -> bool:
    """Whether status can hold it as it is; cut short it would belong to another process, whose counters begin at zero."""
    buckets = [len(histogram.counts) for count in counts.values() for histogram in (count.ttft, count.itl)]
    return max(map(len, process)) <= _IDENTITY and max(buckets, default=0) <= _BUCKETS


def _router(process: tuple[str, str], counts: Mapping[Series, Counts], versions: frozenset[str]) -> RouterBaseline:
    series = [_series(version, track, counts[version, track]) for version, track in sorted(counts) if version in versions]
    return RouterBaseline(router=process[0], process=process[1], series=series)


def _series(version: str, track: Track, counts: Counts) -> SeriesBaseline:
    ttft, itl = counts.ttft, counts.itl
    return SeriesBaseline(
        version=version,
        track=track,
        ok=counts.ok,
        failed=counts.failed,
        valid=counts.valid,
        invalid=counts.invalid,
        ttft=list(ttft.counts) if ttft.total else [],
        itl=list(itl.counts) if itl.total else [],
        ttft_bounds=[repr(bound) for bound in ttft.bounds] if ttft.total else [],
        itl_bounds=[repr(bound) for bound in itl.bounds] if itl.total else [],
    )


def _baseline(kept: Iterable[RouterBaseline]) -> Baseline:
    return {
        (router.router, router.process): {
            (series.version, series.track): Counts(
                series.ok,
                series.failed,
                series.valid,
                series.invalid,
                _histogram(series.ttft_bounds, series.ttft),
                _histogram(series.itl_bounds, series.itl),
            )
            for series in router.series
        }
        for router in kept
    }


def _histogram(bounds: list[str], counts: list[int]) -> Histogram:
    """An odd one from a status that somebody edited counts as empty: its router then reads as growing from zero, or as unread."""
    try:
        return Histogram(tuple(float(bound) for bound in bounds), tuple(counts)) if counts else Histogram()
    except ValueError:
        return Histogram()


def _window(kept: WindowStatus) -> Window:
    return Window(kept.canary, kept.canary_failed, kept.stable, kept.stable_failed)


def _window_status(window: Window) -> WindowStatus:
    return WindowStatus(canary=window.canary, canary_failed=window.canary_failed, stable=window.stable, stable_failed=window.stable_failed)
