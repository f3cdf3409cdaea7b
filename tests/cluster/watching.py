"""Follows objects as they change, so that a test can speak about every moment and not only about those at which it looked."""

import http.client
import json
import ssl
import threading
from abc import ABC, abstractmethod
from types import TracebackType
from typing import Any, Self

from finetune_testbed.apiserver import ApiServer
from finetune_testbed.bed import Testbed
from tests.cluster.operator_process import until

KINDS = frozenset({"ADDED", "MODIFIED", "DELETED"})


class Watch(ABC):
    """Of one collection, from when it is entered; ``error`` is what broke it off, after which nothing is proven."""

    def __init__(self, bed: Testbed, path: str, selector: str = "") -> None:
        self.bed = bed
        self.path = path
        self.error: Exception | None = None
        self._selector = f"labelSelector={selector}" if selector else ""
        self._versions: dict[str, int] = {}
        self._leaving = False

    @abstractmethod
    def take(self, kind: str, found: dict[str, Any]) -> None:
        """One event, on the watch's own thread."""

    def __enter__(self) -> Self:
        context = ssl.create_default_context(cafile=self.bed.pki / "ca.crt")
        context.load_cert_chain(self.bed.pki / "admin.crt", self.bed.pki / "admin.key")
        self._connection = http.client.HTTPSConnection("127.0.0.1", self.bed.ports.apiserver, context=context)
        self._connection.request("GET", f"{self.path}?watch=true&{self._selector}".rstrip("&"))
        self._response = self._connection.getresponse()
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._leaving = True
        if self._connection.sock is not None:
            self._connection.sock.shutdown(2)
        self._thread.join(30)
        assert not self._thread.is_alive()
        self._connection.close()

    def catch_up(self) -> None:
        """Wait until it has seen what is stored now: a watch tells of what happened a moment later than a list."""
        with ApiServer(self.bed) as server:
            items = server.request("GET", f"{self.path}?{self._selector}".rstrip("?"))["items"]
        stored = {item["metadata"]["name"]: int(item["metadata"]["resourceVersion"]) for item in items}
        until(lambda: self.error or all(self._versions.get(name, 0) >= version for name, version in stored.items()))
        self.assert_whole()

    def assert_whole(self) -> None:
        assert self.error is None, f"the watch broke off, so that nothing is proven: {self.error!r}"

    def _follow(self) -> None:
        try:
            while line := self._response.readline():
                event = json.loads(line)
                assert event["type"] in KINDS, event
                self.take(event["type"], event["object"])
                metadata = event["object"]["metadata"]
                self._versions[metadata["name"]] = int(metadata["resourceVersion"])
            broken: Exception | None = EOFError("the API server ended it")
        except (OSError, ValueError, LookupError, AttributeError, AssertionError, http.client.HTTPException) as error:
            broken = error
        if not self._leaving:
            self.error = broken
