"""An operator without serving where AdapterDeployments were never heard of."""

import asyncio
from collections.abc import AsyncIterator
from typing import cast

import pytest

from finetune_operator.cluster.errors import ApiError, NotFound, Unavailable
from finetune_operator.cluster.kube import KubeApi, Page, Selection, WatchEvent
from finetune_operator.cluster.resources import Resource
from finetune_operator.runtime.metrics import Metrics
from finetune_operator.runtime.unserved import LOOK_AGAIN, TROUBLE, Unserved


class Away:
    """Fails as it is told, then knows the kind and has none."""

    def __init__(self, *failures: ApiError) -> None:
        self.failures = list(failures)
        self.watched = asyncio.Event()

    async def pages(self, resource: Resource, selection: Selection, *, page_size: int = 100) -> AsyncIterator[Page]:
        assert selection.metadata_only
        if self.failures:
            raise self.failures.pop(0)
        yield Page([], "1")

    async def watch(self, resource: Resource, selection: Selection, version: str, *, silence: float = 0.0) -> AsyncIterator[WatchEvent]:
        self.watched.set()
        await asyncio.Event().wait()
        yield WatchEvent("BOOKMARK", {})


async def test_a_kind_that_is_not_defined_is_asked_for_now_and_then_and_watched_once_it_is(caplog: pytest.LogCaptureFixture) -> None:
    api = Away(NotFound("no such kind", status=404), Unavailable("no route"), NotFound("no such kind", status=404))
    waits = list[float]()

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    task = asyncio.create_task(Unserved(cast("KubeApi", api), Metrics(), (), sleep=sleep).run())
    await asyncio.wait_for(api.watched.wait(), 60)
    assert waits == [LOOK_AGAIN, TROUBLE, LOOK_AGAIN]
    assert [record.levelname for record in caplog.records] == ["WARNING"], "of the outage"
    task.cancel()
