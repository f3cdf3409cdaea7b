"""Names of children: deterministic, so that creating twice creates once, and short enough for every suffix and label."""

import hashlib
from dataclasses import dataclass

from finetune_trainer.contract import Step

RUN_HASH_LENGTH = 10
RUN_NAME_LIMIT = 45
"""Leaves room for ``-publish-999`` and for the hyphen and five characters that a Job adds to its pods' names, within 63."""
WORK_ROOT = ".finetune"
CLEAN = "clean"
"""Step name of the Job that removes a forgotten run's work folder; it is no step of a run."""


@dataclass(frozen=True)
class Owner:
    """The object that controls the children."""

    namespace: str
    name: str
    uid: str


def run_hash(uid: str, run_key: str) -> str:
    """Ten hex digits that tell this run from every other run of every other FineTuneJob."""
    return hashlib.sha256(f"{uid}{run_key}".encode()).hexdigest()[:RUN_HASH_LENGTH]


def run_name(owner: Owner, run_key: str) -> str:
    """``<name, cut>-<hash>``: the ConfigMap's name and the prefix of the Jobs' names; a DNS label."""
    stem = owner.name.replace(".", "-")[: RUN_NAME_LIMIT - RUN_HASH_LENGTH - 1].strip("-")
    return f"{stem}-{run_hash(owner.uid, run_key)}"


def job_name(run: str, step: Step | str, attempt: int) -> str:
    """``<run>-<step>-<attempt>``, attempts counted from 1."""
    return f"{run}-{step}-{attempt}"


def label_value(text: str) -> str:
    """A name cut to what a label may hold; labels select, they do not identify."""
    return text[:63].rstrip("-_.")


def work_folder(uid: str, run_key: str) -> str:
    """The run's folder on its work claim, without a leading slash."""
    return f"{WORK_ROOT}/{uid}/{run_key[:16]}"
