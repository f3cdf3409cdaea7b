"""Follows the Jobs of a namespace as they happen, to prove what must hold at every moment and not only in the end."""

from types import TracebackType
from typing import Any

from finetune_operator.api.base import LABEL_RUN
from finetune_testbed.bed import Testbed
from tests.cluster.watching import Watch


class JobWatch(Watch):
    """``overlaps`` lists the moments at which a run had two Jobs that had not ended; ``created`` every Job there ever was."""

    def __init__(self, bed: Testbed, namespace: str) -> None:
        super().__init__(bed, f"/apis/batch/v1/namespaces/{namespace}/jobs", LABEL_RUN)
        self.overlaps: list[str] = []
        self.created: list[str] = []
        self._active: dict[str, set[str]] = {}

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        super().__exit__(kind, error, trace)
        if error is None:
            self.assert_whole()

    def take(self, kind: str, found: dict[str, Any]) -> None:
        name, run = found["metadata"]["name"], found["metadata"]["labels"][LABEL_RUN]
        if kind == "ADDED":
            self.created.append(name)
        names = self._active.setdefault(run, set())
        if kind == "DELETED" or _ended(found):
            names.discard(name)
        else:
            names.add(name)
        if len(names) > 1:
            self.overlaps.append(f"{run}: {sorted(names)}")


def _ended(job: dict[str, Any]) -> bool:
    """Whether its pods are done: SuccessCriteriaMet and FailureTarget come first, the final condition after the last pod ended."""
    conditions = job.get("status", {}).get("conditions") or []
    return any(c["type"] in {"Complete", "Failed"} and c["status"] == "True" for c in conditions)
