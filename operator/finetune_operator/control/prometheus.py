"""Reads the counters of a deployment's routers from Prometheus, to the same values as a scrape of the routers themselves."""

import asyncio
from typing import Final, Protocol

from finetune_operator.cluster.prometheus import Failure, NoMetrics
from finetune_operator.domain.analysis.prometheus import LastScrapes, Unusable, last_scrapes
from finetune_operator.domain.analysis.promql import counters_query

FRESHNESS_SECONDS: Final = 60
LONGEST_FRESHNESS: Final = 600


class QueryClient(Protocol):
    async def query(self, promql: str) -> object: ...


class PrometheusSource:
    """A scrape older than ``freshness_seconds`` is none: give at least twice the scrape interval. Raises ``ValueError`` with the field."""

    def __init__(self, client: QueryClient, freshness_seconds: int = FRESHNESS_SECONDS) -> None:
        if not 1 <= freshness_seconds <= LONGEST_FRESHNESS:
            raise ValueError(f"freshnessSeconds: give 1 to {LONGEST_FRESHNESS}, at least twice the scrape interval")
        self._client = client
        self._freshness_seconds = freshness_seconds

    async def read(self, namespace: str, deployment: str) -> LastScrapes:
        """The last scrape of each router of a namespace, with the series of one deployment. Raises `NoMetrics`."""
        document = await self._client.query(counters_query(namespace, deployment, self._freshness_seconds))
        try:
            return await asyncio.to_thread(last_scrapes, document, namespace, deployment)
        except Unusable as error:
            raise NoMetrics(Failure.UNUSABLE, str(error)) from error
