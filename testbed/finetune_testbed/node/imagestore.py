"""Which image store a testbed uses: images outlive a testbed, and two testbeds at once must not share a store.

Unpacking the trainer's image takes minutes, so stores stay in the cache when a testbed goes and serve the next one,
whatever its name. A store is taken while its owner's folder exists.
"""

import fcntl
from pathlib import Path

from finetune_testbed.bed import Testbed
from finetune_testbed.processes import ProcessError


def claim(bed: Testbed) -> bool:
    """Give the testbed a store unless it has one; True when it got it now."""
    link = bed.node_dir / "image-store"
    if link.is_symlink():
        return False
    stores = bed.cache_dir / "image-stores"
    stores.mkdir(parents=True, exist_ok=True)
    bed.node_dir.mkdir(parents=True, exist_ok=True)
    with (stores / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        number = 0
        while _is_taken(stores / str(number), bed):
            number += 1
        store = stores / str(number)
        store.mkdir(exist_ok=True)
        (store / "owner").write_text(str(link))
        link.symlink_to(store)
    return True


def is_claimed(bed: Testbed) -> bool:
    return (bed.node_dir / "image-store").is_symlink()


def path(bed: Testbed) -> Path:
    """The folder of the testbed's store.

    Raises:
        ProcessError: it has none, because its container runtime was never started.
    """
    link = bed.node_dir / "image-store"
    if not link.is_symlink():
        raise ProcessError(f"{bed.name} has no container runtime yet. Start it: finetune-testbed up --tier T3 --name {bed.name}")
    return link.readlink()


def _is_taken(store: Path, bed: Testbed) -> bool:
    owner = store / "owner"
    if not owner.exists():
        return False
    link = Path(owner.read_text())
    return link != bed.node_dir / "image-store" and link.is_symlink() and link.readlink() == store
