"""Kernel settings that kubelet changes for the whole machine, and how they come back.

Several testbeds may run side by side, so the values of before the first are kept under /run, with one holder file for
each testbed; the last one to go restores them. A reboot forgets both, as it should.
"""

import json
from pathlib import Path

from finetune_testbed import locks

PROC = Path("/proc/sys")
CHANGED_BY_KUBELET = (
    "vm/overcommit_memory",
    "vm/panic_on_oom",
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
)
"""`setupKernelTunables` of kubelet's container manager."""
RUN = Path("/run/finetune-testbed")


def remember(holder: str, run: Path = RUN, proc: Path = PROC) -> None:
    """Keep the present values for `restore`, unless an earlier testbed already did."""
    holders = run / "holders"
    with locks.held_beside(run):
        holders.mkdir(parents=True, exist_ok=True)
        values = run / "sysctls.json"
        if not values.exists():
            found = {name: (proc / name).read_text().strip() for name in CHANGED_BY_KUBELET if (proc / name).exists()}
            unfinished = values.with_suffix(".partial")
            unfinished.write_text(json.dumps(found))
            unfinished.replace(values)
        (holders / holder).touch()


def restore(holder: str, run: Path = RUN, proc: Path = PROC) -> None:
    """Let go; the last holder puts back the remembered values. Nothing when this holder remembers nothing."""
    mark = run / "holders" / holder
    with locks.held_beside(run):
        if not mark.exists():
            return
        if not any(other != mark for other in mark.parent.iterdir()):
            _put_back(run / "sysctls.json", proc)
        mark.unlink()
        for folder in (mark.parent, run):
            if not any(folder.iterdir()):
                folder.rmdir()


def _put_back(values: Path, proc: Path) -> None:
    """Nothing where an earlier attempt was interrupted right after it."""
    if not values.exists():
        return
    for name, value in json.loads(values.read_text()).items():
        (proc / name).write_text(value)
    values.unlink()
