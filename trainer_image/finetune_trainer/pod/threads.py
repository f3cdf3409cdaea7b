"""The environment that must be right before torch is imported: too many threads cost a factor of six on a shared machine.

``OMP_NUM_THREADS`` and its relatives follow the container's CPU limit, shared by the processes of the step; a value set by a person stays
and counts for each of them. The hub stays offline unless the base model comes from it.

Threads that wait for each other sleep. By default they spin, and on cores shared with other pods each spins away the time slice that the
one it waits for would need: with two threads on two busy cores a step took 1.8 to 2.7 times as long, and 1.6 times the CPU time.
"""

import os
from collections.abc import MutableMapping
from pathlib import Path

from finetune_trainer.pod.resources import CGROUP_ROOT, cpu_count


def set_library_environment(
    online: bool, environ: MutableMapping[str, str] = os.environ, cgroup: Path = CGROUP_ROOT, processes: int = 1
) -> int:
    """Set what is unset and return the number of threads of a process, of which the step has ``processes``.

    ``online`` is true only for the step that fetches a base model from the hub. Processes that are started from here inherit what is set.
    """
    environ.setdefault("OMP_NUM_THREADS", str(max(1, cpu_count(cgroup) // processes)))
    environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    environ.setdefault("MKL_NUM_THREADS", environ["OMP_NUM_THREADS"])
    environ.setdefault("TOKENIZERS_PARALLELISM", "false" if environ["OMP_NUM_THREADS"] == "1" else "true")
    environ.setdefault("RAYON_NUM_THREADS", environ["OMP_NUM_THREADS"])
    environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    environ["HF_HUB_OFFLINE"] = "0" if online else "1"
    return int(environ["OMP_NUM_THREADS"])
