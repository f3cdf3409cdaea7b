"""Everything that may keep a testbed from starting or stopping and that its message explains: no defect of ours."""

from __future__ import annotations

import http.client
import subprocess

from finetune_testbed import apiserver, audit, binaries, debian, fake_nodes, keys, lifecycle, outcomes, preflight, processes, state
from finetune_testbed.images.base import BaseImageError
from finetune_testbed.images.buildkit import BuildError
from finetune_testbed.images.recipes import UnknownImageError
from finetune_testbed.node.volumes import VolumeError

EXPLAINED: tuple[type[Exception], ...] = (
    BaseImageError,
    BuildError,
    OSError,
    UnknownImageError,
    VolumeError,
    apiserver.RequestError,
    audit.AuditError,
    binaries.BinariesError,
    debian.PackagesError,
    fake_nodes.StagesError,
    http.client.HTTPException,
    keys.KeysError,
    lifecycle.LifecycleError,
    outcomes.OutcomeError,
    preflight.PreflightError,
    processes.ProcessError,
    state.StateError,
    subprocess.CalledProcessError,
)
