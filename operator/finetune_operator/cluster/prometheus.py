"""Asks a Prometheus, for installations in which the operator does not read routers themselves.

What is asked answers to ``/api/v1/query`` like Prometheus: Thanos, Mimir and others do too. The token is read for every question, because
mounted ones are renewed; it is sent over TLS only and follows no redirect. The answer is bounded, and half an answer is none.
"""

import asyncio
import re
import ssl
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import aiohttp
import orjson

from finetune_operator.cluster.dialling import NoAuthority, plain_session, trust_of
from finetune_operator.cluster.errors import ApiError
from finetune_operator.cluster.kube import read_bounded

TIMEOUT: Final = 10.0
BODY_LIMIT: Final = 16 * 1024 * 1024
ERROR_LIMIT: Final = 16 * 1024
AT_ONCE: Final = 4
"""Questions under way; a Prometheus answers twenty at once, and has other callers."""

_TOKEN: Final = re.compile(r"[!-~]{1,16384}")
_ERROR_TYPE: Final = re.compile(r"[a-z_]{1,32}")


class Failure(StrEnum):
    """``Configuration``: a file of ours. ``Unreachable``: worth another try. ``Refused``: the token. ``Unusable``: what was answered."""

    CONFIGURATION = "Configuration"
    UNREACHABLE = "Unreachable"
    REFUSED = "Refused"
    UNUSABLE = "Unusable"


class NoMetrics(Exception):
    """Nothing could be read. The text says why and what to do, and holds nothing of token or answer."""

    def __init__(self, failure: Failure, message: str) -> None:
        super().__init__(message)
        self.failure = failure


@dataclass(frozen=True)
class PrometheusServer:
    """``url`` is what comes before ``/api/v1/query``. Without ``ca_file`` the system's authorities count.

    Raises ``ValueError`` with the field.
    """

    url: str
    token_file: Path | None = None
    ca_file: Path | None = None

    def __post_init__(self) -> None:
        if not _is_address(self.url):
            raise ValueError("url: give http(s)://host:port/path, without user, query and fragment")
        encrypted = self.url.startswith("https:")
        if self.token_file is not None and not encrypted:
            raise ValueError("tokenFile: a token is sent over https only; give an https url, or no token")
        if self.ca_file is not None and not encrypted:
            raise ValueError("caFile: needs an https url")

    @property
    def query_url(self) -> str:
        return f"{self.url.rstrip('/')}/api/v1/query"


class PrometheusClient:
    """One per process; create it anywhere, use it inside the event loop, and close it."""

    def __init__(self, server: PrometheusServer, *, timeout: float = TIMEOUT, body_limit: int = BODY_LIMIT) -> None:
        self._server = server
        self._timeout = timeout
        self._body_limit = body_limit
        self._turn = asyncio.Semaphore(AT_ONCE)
        self._session: aiohttp.ClientSession | None = None

    async def query(self, promql: str) -> object:
        """The JSON document that answers an instant query, as it is now for the server. Raises `NoMetrics`."""
        body = await self._ask({"query": promql, "timeout": f"{self._timeout:g}s"})
        try:
            return await asyncio.to_thread(orjson.loads, body)
        except orjson.JSONDecodeError:
            raise NoMetrics(Failure.UNUSABLE, "the answer is no JSON: give the address below which /api/v1/query lies") from None

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def _ask(self, query: dict[str, str]) -> bytes:
        headers, tls = _authorization(self._server.token_file), _tls(self._server.ca_file)
        window = aiohttp.ClientTimeout(total=self._timeout)
        url = self._server.query_url
        async with self._turn:
            try:
                async with self._open().get(url, params=query, headers=headers, ssl=tls, timeout=window, allow_redirects=False) as response:
                    if response.headers.get("Content-Encoding", "identity") != "identity":
                        raise NoMetrics(Failure.UNUSABLE, "the answer is compressed, which was not asked for")
                    if response.status != 200:
                        raise _refusal(response.status, await _error_type(response))
                    return await read_bounded(response, self._body_limit)
            except ApiError as error:
                raise NoMetrics(Failure.UNUSABLE, error.message) from error
            except (aiohttp.ClientSSLError, ssl.SSLError) as error:
                text = "no trust in the server's certificate: set caFile to the authority that signed it, and url to a name it is for"
                raise NoMetrics(Failure.CONFIGURATION, text) from error
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                raise NoMetrics(Failure.UNREACHABLE, f"no answer: {type(error).__name__}") from error

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = plain_session(AT_ONCE, {"Accept": "application/json"})
        return self._session


def _authorization(token_file: Path | None) -> dict[str, str]:
    if token_file is None:
        return {}
    try:
        token = token_file.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise NoMetrics(Failure.CONFIGURATION, f"tokenFile: {token_file} cannot be read: {type(error).__name__}") from error
    if not _TOKEN.fullmatch(token):
        raise NoMetrics(Failure.CONFIGURATION, f"tokenFile: {token_file} holds no token of visible characters in one line")
    return {"Authorization": f"Bearer {token}"}


def _tls(ca_file: Path | None) -> ssl.SSLContext | bool:
    try:
        return trust_of(ca_file)
    except NoAuthority as error:
        raise NoMetrics(Failure.CONFIGURATION, f"caFile: {error}") from error


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0 and not {"@", "?", "#"} & set(url)
    except ValueError:
        return False  # a port or an address that is none


def _refusal(status: int, word: str) -> NoMetrics:
    if status in (401, 403):
        return NoMetrics(Failure.REFUSED, f"status {status}: give tokenFile a token that may query the namespace's series")
    if 300 <= status < 400:
        return NoMetrics(Failure.UNUSABLE, f"status {status}: give the address that it redirects to, which is not followed")
    if status == 429 or status >= 500:
        return NoMetrics(Failure.UNREACHABLE, f"status {status}{word}")
    return NoMetrics(Failure.UNUSABLE, f"status {status}{word}: give the address below which /api/v1/query lies")


async def _error_type(response: aiohttp.ClientResponse) -> str:
    """Prometheus' word for what went wrong, or nothing, as for a proxy's page; its sentences may repeat what was asked."""
    try:
        document = orjson.loads(await read_bounded(response, ERROR_LIMIT))
    except (ApiError, orjson.JSONDecodeError):
        return ""
    word = document.get("errorType") if isinstance(document, dict) else None
    return f" ({word})" if isinstance(word, str) and _ERROR_TYPE.fullmatch(word) else ""
