"""What decisions about FineTuneJobs may know of the installation, out of its options."""

import logging
import secrets
from typing import Final

from finetune_operator.domain.observed import DomainSettings
from finetune_operator.runtime.preflight import PreflightFailed
from finetune_operator.runtime.settings import Settings

log = logging.getLogger(__name__)

KEY_BYTES: Final = 32


def domain_settings(settings: Settings) -> DomainSettings:
    """What decisions may know of the installation. Raises `PreflightFailed` for a key file that cannot be used."""
    return DomainSettings(
        trainer_image=settings.trainer_image,
        progress_key=_progress_key(settings),
        image_pull_secrets=tuple(settings.image_pull_secret),
        image_pull_policy=settings.image_pull_policy,
        finished_job_ttl_seconds=settings.finished_job_ttl_seconds,
        operator_namespace=settings.own_namespace(),
        egress_probe=settings.egress_probe(),
        progress_write_seconds=settings.progress_seconds,
        retry_base_seconds=settings.retry_base_seconds,
        retry_cap_seconds=settings.retry_cap_seconds,
    )


def _progress_key(settings: Settings) -> bytes:
    path = settings.progress_key_file
    if path is None:
        log.warning("no --progress-key-file: runs that began before this start will show no progress")
        return secrets.token_bytes(KEY_BYTES)
    try:
        key = path.read_bytes().strip()
    except OSError as error:
        raise PreflightFailed(f"cannot read --progress-key-file {path}: {error.strerror}") from error
    if len(key) < KEY_BYTES:
        raise PreflightFailed(f"--progress-key-file {path} holds {len(key)} bytes; it needs {KEY_BYTES} random bytes or more")
    return key
