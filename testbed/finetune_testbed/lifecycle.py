"""Bringing a testbed up, telling how it is, and taking it down; each of them safe to repeat at any point."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from finetune_testbed import binaries, control_plane, debian, fake_nodes, keys, node, preflight, processes, state
from finetune_testbed.bed import Problem, Settings, Testbed, Tier
from finetune_testbed.processes import Daemon

STOP_ORDER = ("kwok", "kube-scheduler", "kube-controller-manager", "kube-apiserver", "etcd")
"""The API server ignores TERM once etcd is gone."""
NODES_READY_SECONDS = 60.0

Progress = Callable[[str], None]


class LifecycleError(RuntimeError):
    """A testbed could not be brought up or found."""


def up(
    name: str,
    tier: Tier,
    progress: Progress,
    changes: Mapping[str, object] | None = None,
    *,
    check_host: bool = True,
) -> Testbed:
    """Bring a testbed to at least `tier`: make it, repair it or extend it; nothing happens when all is well.

    `changes` are fields of `Settings` that the caller wants different from now.
    """
    debian.reach_sbin()
    with state.locked(name):
        bed = state.load(name)
        settings = _merged(bed.settings if bed else Settings(), tier, changes or {}, new=bed is None)
        if bed is None or settings.tier is not bed.tier:
            prepare_host(settings.tier, progress, check_host=check_host)
        if bed is None:
            bed = state.create(name, settings)
        elif bed.settings != settings:
            bed = state.with_settings(bed, settings)
        programs = binaries.ensure(binaries.TIER_PROGRAMS[bed.tier], bed.cache_dir, progress)
        _start(bed, programs, progress)
        return bed


def down(name: str, progress: Progress) -> bool:
    """Stop everything of a testbed and forget it; False if there was none of this name."""
    debian.reach_sbin()
    with state.locked(name):
        bed = state.load(name)
        if bed is None:
            return False
        try:
            if bed.tier is Tier.T3 or bed.node_dir.exists():
                progress("stopping the node")
                node.stop(bed)
        finally:
            # Whatever is wrong with the node: nothing else stays, and what is left of it is known to the next `down`.
            others = [daemon for daemon in processes.recorded(bed) if daemon not in STOP_ORDER]
            for daemon in (*others, *STOP_ORDER):
                processes.stop(bed, daemon)
        state.remove(bed)
    return True


def problems(bed: Testbed) -> list[Problem]:
    """What is not as the settings say; empty for a healthy testbed."""
    debian.reach_sbin()
    programs = {name: Path(name) for name in binaries.TIER_PROGRAMS[bed.tier]}
    daemons = _daemons(bed, programs)
    found = [problem for daemon in daemons for problem in processes.problems(bed, daemon)]
    if bed.tier is Tier.T2 and not found and (reason := fake_nodes.not_ready(bed)):
        found.append(Problem("nodes", reason))
    if bed.tier is Tier.T3:
        found += node.healthy(bed)
    return found


def require(name: str) -> Testbed:
    """The testbed of this name.

    Raises:
        LifecycleError: there is none.
    """
    bed = state.load(name)
    if bed is None:
        known = ", ".join(state.names()) or "none"
        raise LifecycleError(f"There is no testbed {name!r} (known: {known}). Start it: finetune-testbed up --name {name}")
    return bed


def _merged(current: Settings, tier: Tier, changes: Mapping[str, object], *, new: bool) -> Settings:
    wanted = tier if new or tier.level > current.tier.level else current.tier
    return replace(current, **{**changes, "tier": wanted})  # type: ignore[arg-type]


def prepare_host(tier: Tier, progress: Progress, *, check_host: bool = True) -> None:
    """See that the host has what a tier needs, and install Debian packages that are missing.

    Raises:
        PreflightError: not root, too little disk or too little memory.
        PackagesError: packages are missing that cannot be installed here.
    """
    cache = binaries.cache_root()
    if check_host:
        build = bool(binaries.missing(binaries.TIER_PROGRAMS[tier], cache))
        for folder in (cache, state.state_root()):
            preflight.require(preflight.inspect(folder), tier, build=build, folder=folder)
    debian.ensure(debian.TIER_REQUIREMENTS[tier], progress)


def _daemons(bed: Testbed, programs: Mapping[str, Path]) -> list[Daemon]:
    daemons = [control_plane.etcd(bed, programs), control_plane.kube_apiserver(bed, programs)]
    if bed.tier.level >= Tier.T2.level:
        daemons += [
            control_plane.kube_controller_manager(bed, programs),
            control_plane.kube_scheduler(bed, programs),
        ]
    if bed.tier is Tier.T2:
        daemons.append(fake_nodes.kwok(bed, programs))
    return daemons


def _start(bed: Testbed, programs: Mapping[str, Path], progress: Progress) -> None:
    keys.ensure(bed)
    control_plane.write_configuration(bed)
    store, server, *controllers = _daemons(bed, programs)
    for daemon in (store, server):
        if processes.is_outdated(bed, daemon):
            # Its clients first: with their requests open the API server takes half a minute to go.
            for client in STOP_ORDER[: STOP_ORDER.index(daemon.name)]:
                processes.stop(bed, client)
        _ensure([daemon], bed, progress)
    _ensure(controllers, bed, progress)
    if bed.tier is Tier.T2:
        fake_nodes.ensure_nodes(bed)
        _wait_for_nodes(bed)
    if bed.tier is Tier.T3:
        processes.stop(bed, "kwok")
        fake_nodes.delete_nodes(bed)
        began, before = time.monotonic(), processes.read_record(bed, "kubelet")
        node.start(bed)
        if processes.read_record(bed, "kubelet") != before:
            progress(f"{bed.node_name}: Ready after {time.monotonic() - began:.1f} s")


def _ensure(daemons: Iterable[Daemon], bed: Testbed, progress: Progress) -> None:
    began = time.monotonic()
    for name in processes.ensure_all(bed, list(daemons)):
        progress(f"{name}: serving after {time.monotonic() - began:.1f} s")


def _wait_for_nodes(bed: Testbed) -> None:
    deadline = time.monotonic() + NODES_READY_SECONDS
    while reason := fake_nodes.not_ready(bed):
        if time.monotonic() > deadline:
            raise LifecycleError(f"{reason} after {NODES_READY_SECONDS:.0f} s\n{processes.tail(bed, 'kwok')}")
        time.sleep(processes.POLL_SECONDS)
