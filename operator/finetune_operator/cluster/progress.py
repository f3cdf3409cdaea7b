"""Reads a running trainer's ``/progress``. A pod runs whatever a user's data and model make it run, so its answer is untrusted input.

Hence a size cap, two seconds, no redirects, a schema in which every field is bounded, and a bearer token per run that the pod can recognise
but not learn from its own files.
"""

import asyncio
from typing import Final, Protocol

import aiohttp
from pydantic import ValidationError

from finetune_operator.cluster.address import url_of
from finetune_operator.cluster.errors import ApiError
from finetune_operator.cluster.kube import KubeApi, read_bounded
from finetune_trainer.contract import PROGRESS_PORT, ProgressReport

SIZE_LIMIT: Final = 16 * 1024
TIMEOUT: Final = 2.0
PATH: Final = "/progress"
PROXY_HEADER: Final = "X-Finetune-Authorization"
"""The API server drops ``Authorization`` before it forwards a request to a pod; through the proxy the token travels in this header."""


class NoProgress(Exception):
    """The pod gave no usable answer; the text says why and holds nothing of the answer."""


class ProgressReader(Protocol):
    async def read(self, pod: "PodAddress", token: str) -> ProgressReport: ...


class PodAddress(Protocol):
    """Which pod to ask."""

    @property
    def namespace(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def ip(self) -> str: ...


class DirectReader:
    """GET at the pod's own address: what the operator does inside the cluster."""

    def __init__(self, port: int = PROGRESS_PORT) -> None:
        self._port = port
        self._session: aiohttp.ClientSession | None = None

    async def read(self, pod: PodAddress, token: str) -> ProgressReport:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=TIMEOUT),
                trust_env=False,
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                connector=aiohttp.TCPConnector(limit=32, force_close=True),
            )
        url = url_of(pod.ip, self._port, PATH)
        try:
            async with self._session.get(url, headers={"Authorization": f"Bearer {token}"}, allow_redirects=False) as response:
                if response.status != 200:
                    raise NoProgress(f"{pod.name} answered {response.status}")
                body = await read_bounded(response, SIZE_LIMIT)
        except (ApiError, aiohttp.ClientError, TimeoutError, OSError) as error:
            raise NoProgress(f"{pod.name} gives no answer: {type(error).__name__}") from error
        return _parse(pod.name, body)

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()


class ProxyReader:
    """GET through the API server's pod proxy: for an operator that runs outside the cluster, during development."""

    def __init__(self, kube: KubeApi, port: int = PROGRESS_PORT) -> None:
        self._kube = kube
        self._port = port

    async def read(self, pod: PodAddress, token: str) -> ProgressReport:
        headers = {PROXY_HEADER: f"Bearer {token}"}
        try:
            async with asyncio.timeout(TIMEOUT):
                body = await self._kube.read_pod(pod.namespace, pod.name, self._port, PATH, headers, limit=SIZE_LIMIT)
        except (ApiError, aiohttp.ClientError, TimeoutError, OSError) as error:
            raise NoProgress(f"{pod.name} does not answer through the proxy: {type(error).__name__}") from error
        return _parse(pod.name, body)

    async def close(self) -> None:
        """Nothing of its own to close."""


def _parse(pod: str, body: bytes) -> ProgressReport:
    try:
        return ProgressReport.from_json(body)
    except ValidationError as error:
        fields = ", ".join(".".join(str(part) for part in detail["loc"]) or detail["type"] for detail in error.errors()[:4])
        raise NoProgress(f"{pod} answered with something that is no progress report: {fields}"[:256]) from None
