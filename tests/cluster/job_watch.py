"""Follows the Jobs of a namespace as they happen, to prove what must hold at every moment and not only in the end."""

import http.client
import json
import ssl
import threading
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from finetune_operator.api.base import LABEL_RUN
from finetune_testbed.apiserver import ApiServer
from finetune_testbed.bed import Testbed
from tests.cluster.operator_process import until


@dataclass
class JobWatch:
    """``overlaps`` lists the moments at which a run had two Jobs that had not ended; ``created`` every Job there ever was."""

    bed: Testbed
    namespace: str
    overlaps: list[str] = field(default_factory=list)
    created: list[str] = field(default_factory=list)
    error: Exception | None = None

    def __enter__(self) -> Self:
        context = ssl.create_default_context(cafile=self.bed.pki / "ca.crt")
        context.load_cert_chain(self.bed.pki / "admin.crt", self.bed.pki / "admin.key")
        self._connection = http.client.HTTPSConnection("127.0.0.1", self.bed.ports.apiserver, context=context)
        self._connection.request("GET", f"/apis/batch/v1/namespaces/{self.namespace}/jobs?watch=true&labelSelector={LABEL_RUN}")
        self._response = self._connection.getresponse()
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()
        return self

    def catch_up(self) -> None:
        """Wait until it has seen every Job that there is now: a watch tells of what happened a moment later than a list."""
        with ApiServer(self.bed) as server:
            items = server.request("GET", f"/apis/batch/v1/namespaces/{self.namespace}/jobs?labelSelector={LABEL_RUN}")["items"]
        names = {item["metadata"]["name"] for item in items}
        until(lambda: names <= set(self.created) or self.error is not None)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._connection.sock is not None:
            self._connection.sock.shutdown(2)
        self._thread.join(30)
        assert not self._thread.is_alive()
        self._connection.close()
        if self.error is not None and error is None:
            raise AssertionError("the watch broke off, so that nothing is proven") from self.error

    def _follow(self) -> None:
        try:
            self._read()
        except (OSError, ValueError, LookupError, AssertionError, http.client.HTTPException) as error:
            self.error = error

    def _read(self) -> None:
        active: dict[str, set[str]] = {}
        while line := self._response.readline():
            event = json.loads(line)
            job = event["object"]
            assert event["type"] in {"ADDED", "MODIFIED", "DELETED"}, event
            name, run = job["metadata"]["name"], job["metadata"]["labels"][LABEL_RUN]
            if event["type"] == "ADDED":
                self.created.append(name)
            names = active.setdefault(run, set())
            if event["type"] == "DELETED" or _ended(job):
                names.discard(name)
            else:
                names.add(name)
            if len(names) > 1:
                self.overlaps.append(f"{run}: {sorted(names)}")


def _ended(job: dict[str, Any]) -> bool:
    """Whether its pods are done: SuccessCriteriaMet and FailureTarget come first, the final condition after the last pod ended."""
    conditions = job.get("status", {}).get("conditions") or []
    return any(c["type"] in {"Complete", "Failed"} and c["status"] == "True" for c in conditions)
