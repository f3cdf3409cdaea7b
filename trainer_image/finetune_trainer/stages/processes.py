"""This process among those that train together, and whether it got the company that the run asked for."""

import os
from dataclasses import dataclass

from finetune_trainer.pod.errors import ConfigurationError


@dataclass(frozen=True)
class Process:
    """Rank and number of processes, as the launcher set them."""

    rank: int = 0
    local_rank: int = 0
    count: int = 1

    @property
    def first(self) -> bool:
        return self.rank == 0


def this_process() -> Process:
    """From ``RANK``, ``LOCAL_RANK`` and ``WORLD_SIZE``."""
    return Process(int(os.environ.get("RANK", "0")), int(os.environ.get("LOCAL_RANK", "0")), int(os.environ.get("WORLD_SIZE", "1")))


def check_world(process: Process, got: int) -> None:
    """The library falls back to one process without a word; raises ``ConfigurationError`` when it did."""
    if got != process.count:
        raise ConfigurationError(
            "WorldSizeMismatch",
            f"resources.gpus: {process.count} processes were started for this run, but training would use {got}",
            "This is a mismatch of launcher and library: report it with the trainer's version.",
        )
