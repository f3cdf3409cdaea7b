"""Asks routers and agents at their pods' addresses. Whoever listens there may answer anything: engines run what users bring.

Hence small timeouts, no redirects, no compression, bodies that are cut off where they become too large, schemas in which every field is
bounded, and one kind of error. Of the metrics only the wanted families of the wanted deployments are kept, while they arrive.
"""

import asyncio
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from typing import Final, TypeVar

import aiohttp
from pydantic import ValidationError

from finetune_inference.contract import JUDGED_SERIES, Acknowledgement, AgentStatus
from finetune_operator.cluster.address import url_of
from finetune_operator.cluster.dialling import plain_session
from finetune_operator.cluster.errors import ApiError
from finetune_operator.cluster.exposition import Malformed, MetricLine, read_line
from finetune_operator.cluster.kube import read_bounded
from finetune_trainer.contract.base import Named

TIMEOUT: Final = 2.0
METRICS_TIMEOUT: Final = 5.0
DOCUMENT_LIMIT: Final = 512 * 1024
METRICS_LIMIT: Final = 16 * 1024 * 1024
SAMPLE_LIMIT: Final = 50_000
AT_ONCE: Final = 32
"""Questions under way; more wait for their turn, which is not counted against their time."""
PROBE: Final = "Hello"
PROBE_TOKENS: Final = 16
PROBE_TIMEOUT: Final = 60.0
BREATH: Final = 256 * 1024
"""Bytes of metrics after which others get their turn of the event loop."""

D = TypeVar("D", bound=Named)


class NoAnswer(Exception):
    """A pod gave no usable answer; the text says why and holds nothing of the answer."""


class PodClient:
    """One per process; create it anywhere, use it inside the event loop, and close it."""

    def __init__(self, *, router_port: int, agent_port: int, inference_port: int = 8000, at_once: int = AT_ONCE) -> None:
        self._router_port = router_port
        self._inference_port = inference_port
        self._agent_port = agent_port
        self._turn = asyncio.Semaphore(at_once)
        self._session: aiohttp.ClientSession | None = None

    async def acknowledgement(self, ip: str) -> Acknowledgement:
        """What a router has applied. Raises `NoAnswer`."""
        return await self._document(Acknowledgement, url_of(ip, self._router_port, "/routes"))

    async def agent_status(self, ip: str) -> AgentStatus:
        """What an agent's engine holds. Raises `NoAnswer`."""
        return await self._document(AgentStatus, url_of(ip, self._agent_port, "/status"))

    async def samples(self, ip: str, deployments: Collection[str]) -> dict[str, list[MetricLine]]:
        """A router's counters by deployment. Raises `NoAnswer`; half an answer is none."""
        kept: dict[str, list[MetricLine]] = {name: [] for name in deployments}
        count = 0
        async with self._get(url_of(ip, self._router_port, "/metrics"), METRICS_TIMEOUT) as response:
            async for line in _lines(response):
                sample = read_line(line, JUDGED_SERIES)
                if sample is None or sample.labels.get("deployment") not in kept:
                    continue
                count += 1
                if count > SAMPLE_LIMIT:
                    raise NoAnswer(f"more than {SAMPLE_LIMIT} series")
                kept[sample.labels["deployment"]].append(sample)
        return kept

    async def probe(self, ip: str, alias: str, version: str, token: str) -> None:
        """A short request that asks exactly this version, for the router to count; the answer is thrown away. Raises `NoAnswer`."""
        headers = {"x-adapter-version": version, "x-adapter-pin-token": token}
        body = {"model": alias, "messages": [{"role": "user", "content": PROBE}], "max_tokens": PROBE_TOKENS, "stream": True}
        url, window = url_of(ip, self._inference_port, "/v1/chat/completions"), aiohttp.ClientTimeout(total=PROBE_TIMEOUT)
        try:
            async with self._open().post(url, json=body, headers=headers, timeout=window, allow_redirects=False) as response:
                await read_bounded(response, DOCUMENT_LIMIT)
                if response.status != 200:
                    raise NoAnswer(f"status {response.status}")
        except (ApiError, aiohttp.ClientError, TimeoutError, OSError) as error:
            raise NoAnswer(type(error).__name__) from error

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def _document(self, kind: type[D], url: str) -> D:
        async with self._get(url, TIMEOUT) as response:
            body = await read_bounded(response, DOCUMENT_LIMIT)
        try:
            return kind.model_validate_json(body, extra="ignore")  # an agent or router of a newer release may say more
        except ValidationError as error:
            fields = ", ".join(".".join(str(part) for part in detail["loc"]) or detail["type"] for detail in error.errors()[:4])
            raise NoAnswer(f"no {kind.__name__}: {fields}"[:256]) from None

    @asynccontextmanager
    async def _get(self, url: str, seconds: float) -> AsyncIterator[aiohttp.ClientResponse]:
        async with self._turn:
            window = aiohttp.ClientTimeout(total=seconds)
            try:
                async with self._open().get(url, timeout=window, allow_redirects=False) as response:
                    if response.status != 200 or response.headers.get("Content-Encoding", "identity") != "identity":
                        raise NoAnswer(f"status {response.status}")
                    yield response
            except (ApiError, Malformed) as error:
                raise NoAnswer(str(error)) from error
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                raise NoAnswer(type(error).__name__) from error

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = plain_session(limit=0)
        return self._session


async def _lines(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    """Whole lines; raises `NoAnswer` for more than `METRICS_LIMIT`."""
    rest, size, breath = b"", 0, BREATH
    async for chunk in response.content.iter_any():
        size += len(chunk)
        if size > METRICS_LIMIT:
            raise NoAnswer(f"more than {METRICS_LIMIT} bytes")
        *lines, rest = (rest + chunk).split(b"\n")
        if len(rest) > BREATH:
            raise NoAnswer("a line without an end")
        for line in lines:
            yield line
        if size > breath:
            breath = size + BREATH
            await asyncio.sleep(0)
    if rest:
        raise NoAnswer("the answer breaks off in a line")
