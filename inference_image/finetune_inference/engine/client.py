"""Calls of an engine's adapter API, each with a deadline and a bounded answer.

vLLM's habits, which this client absorbs: the same name again is a 400 that may mean "already loaded", so the list decides; unloading an
unknown name is a 404, which is what was wanted; a load can take long and holds up the engine, so it has a deadline of its own.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import aiohttp

from finetune_inference.engine.answers import MESSAGE_LIMIT, ServedModel, error_message, first_token, process_start, served_models
from finetune_inference.engine.errors import (
    AdapterNotFound,
    AnswerUnreadable,
    EngineAway,
    KeyUnusable,
    LoadingOff,
    NameTaken,
    NotAuthorized,
    Refused,
)

_ANSWER_LIMIT = 4 << 20


@dataclass(frozen=True)
class EngineTimeouts:
    """Seconds. ``load`` bounds one adapter, whose file may lie on slow storage."""

    connect: float = 2.0
    read: float = 5.0
    load: float = 120.0
    unload: float = 30.0
    probe: float = 30.0


class AdapterEngine(Protocol):
    """What the agent needs of an engine. Every call raises ``EngineError``."""

    async def models(self) -> tuple[ServedModel, ...]: ...
    async def started(self) -> str | None: ...
    async def load(self, name: str, path: str) -> None: ...
    async def unload(self, name: str) -> None: ...
    async def first_token(self, model: str, prompt: str, alternatives: int) -> dict[str, float]: ...


@dataclass(frozen=True)
class _Answer:
    status: int
    body: bytes

    @property
    def message(self) -> str:
        return error_message(self.body) or f"it answered {self.status}"


class EngineClient:
    """An engine at ``url`` that loads at ``admin_url``, if that is another. ``key`` is asked before every call, as it may change."""

    def __init__(
        self,
        url: str,
        *,
        admin_url: str | None = None,
        key: Callable[[], str | None] = lambda: None,
        timeouts: EngineTimeouts | None = None,
    ) -> None:
        self._url = url.rstrip("/")
        self._admin_url = (admin_url or url).rstrip("/")
        self._key = key
        self._timeouts = timeouts or EngineTimeouts()
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def models(self) -> tuple[ServedModel, ...]:
        """What the engine lists, base and adapters. Raises ``EngineAway`` too when its health check fails: a dead engine may still list."""
        health = await self._call("GET", "/health", seconds=self._timeouts.read)
        if health.status != 200:
            raise EngineAway(f"its health check answers {health.status}")
        answer = await self._call("GET", "/v1/models", seconds=self._timeouts.read)
        if answer.status != 200:
            raise EngineAway(f"/v1/models: {answer.message}")
        return served_models(answer.body)

    async def started(self) -> str | None:
        """When the engine's process started, as its own metrics say; None if they do not."""
        answer = await self._call("GET", "/metrics", seconds=self._timeouts.read)
        return process_start(answer.body.decode("utf-8", errors="replace")) if answer.status == 200 else None

    async def load(self, name: str, path: str) -> None:
        """Return when the engine lists ``name`` from ``path``, whoever loaded it.

        Raises ``NameTaken`` if it holds the name from elsewhere, ``Refused``, ``AdapterNotFound``, ``LoadingOff`` or ``EngineAway``.
        """
        answer = await self._administer("load", {"lora_name": name, "lora_path": path}, seconds=self._timeouts.load)
        if answer.status == 404:
            raise _not_found(answer, f"the engine finds no adapter at {path}")
        if answer.status not in {200, 400}:
            raise Refused(answer.message)
        listed = next((model for model in await self.models() if model.name == name), None)
        if listed is None:
            raise Refused(answer.message if answer.status == 400 else "it said yes and does not list the adapter")
        if listed.root != path:
            raise NameTaken(f"the engine holds {name} from another place")

    async def unload(self, name: str) -> None:
        """Return when the engine no longer lists ``name``; its memory may stay in use until other adapters push it out."""
        answer = await self._administer("unload", {"lora_name": name}, seconds=self._timeouts.unload)
        if answer.status == 404 and isinstance(missing := _not_found(answer, name), LoadingOff):
            raise missing
        if answer.status not in {200, 404}:
            raise Refused(answer.message)

    async def first_token(self, model: str, prompt: str, alternatives: int) -> dict[str, float]:
        """The likeliest first tokens after ``prompt`` with their log-probabilities, decoded greedily.

        The end of a text counts as a token: a model that has learned to end at once would have none otherwise.
        """
        content = {"model": model, "prompt": prompt, "max_tokens": 1, "temperature": 0, "logprobs": alternatives, "ignore_eos": True}
        answer = await self._call("POST", "/v1/completions", content, seconds=self._timeouts.probe)
        if answer.status == 404:
            raise AdapterNotFound(answer.message)
        if answer.status != 200:
            raise AnswerUnreadable(f"/v1/completions: {answer.message}")
        return first_token(answer.body)

    async def _administer(self, verb: str, content: Mapping[str, object], *, seconds: float) -> _Answer:
        return await self._call("POST", f"/v1/{verb}_lora_adapter", content, seconds=seconds, at=self._admin_url)

    async def _call(
        self, method: str, path: str, content: Mapping[str, object] | None = None, *, seconds: float, at: str | None = None
    ) -> _Answer:
        timeout = aiohttp.ClientTimeout(total=seconds, connect=self._timeouts.connect)
        key = self._key()
        if key and any(letter < " " or letter == "\x7f" for letter in key):
            raise KeyUnusable("the engine's key holds a line break or another control character, which no header can carry")
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        body = json.dumps(content).encode() if content is not None else None
        try:
            async with self._open().request(
                method,
                f"{at or self._url}{path}",
                data=body,
                headers=headers | ({"Content-Type": "application/json"} if body else {}),
                timeout=timeout,
                allow_redirects=False,
            ) as response:
                answer = _Answer(response.status, await _bounded(response))
        except TimeoutError as error:
            raise EngineAway(f"{path} did not answer within {seconds:g} s") from error
        except (aiohttp.ClientError, OSError) as error:
            raise EngineAway(f"{path}: {type(error).__name__}") from error
        if answer.status in {401, 403}:
            raise NotAuthorized(f"{path} answers {answer.status}")
        return answer

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                trust_env=False, cookie_jar=aiohttp.DummyCookieJar(), connector=aiohttp.TCPConnector(limit=8)
            )
        return self._session


def _not_found(answer: _Answer, otherwise: str) -> LoadingOff | AdapterNotFound:
    """A 404 of the engine carries an OpenAI error; one without comes from a router that has no such path."""
    message = error_message(answer.body)
    if message in {None, "Not Found"}:
        return LoadingOff("the engine has no /v1/load_lora_adapter")
    return AdapterNotFound(f"{otherwise}: {message}"[:MESSAGE_LIMIT])


async def _bounded(response: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for chunk in response.content.iter_chunked(1 << 16):
        body += chunk
        if len(body) > _ANSWER_LIMIT:
            raise AnswerUnreadable(f"an answer larger than {_ANSWER_LIMIT >> 20} MiB")
    return bytes(body)
