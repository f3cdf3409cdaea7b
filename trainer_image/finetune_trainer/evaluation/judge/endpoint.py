"""One OpenAI-compatible endpoint that is asked for verdicts. What it answers, and what it was asked, is in no error and in no log.

Nothing of the environment has a say in where requests go (proxies, netrc), and a redirect is not followed: the host that governance has
judged is the only one that is dialled.
"""

import asyncio
import json
import re
import ssl
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from httpx2 import AsyncClient, InvalidURL, Timeout, TransportError

from finetune_trainer.contract import Judge
from finetune_trainer.evaluation.judge.prompt import Message
from finetune_trainer.pod.errors import ConfigurationError, StepError, StorageError

FIELD = "spec.evaluation.judge"
REPLY_TOKENS: Final = 64
_REPLY_BYTES = 1 << 20
_TRIES = 4
_CONNECT_SECONDS = 10.0
_PAUSE_SECONDS = 1.0
_MOST_PAUSE_SECONDS = 30.0
_BUSY = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Answers after which asking again may help."""
_UNFIT = frozenset({400, 413, 422})
"""Of this one question, which may be too long for the judge."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,127}")


@dataclass(frozen=True)
class Reply:
    """``text`` is None where the judge cannot answer this question; ``model`` and ``fingerprint`` are its own words, if plain ones."""

    text: str | None
    model: str | None = None
    fingerprint: str | None = None


@dataclass(frozen=True)
class Access:
    """What opens the endpoint, and a file with the authorities that its certificate is checked by, in place of the public ones."""

    token: str | None = None
    authorities: Path | None = None

    @classmethod
    def of(cls, folder: Path) -> "Access":
        """As it is mounted: the keys ``token`` and ``ca.crt`` of a Secret, each if it is there."""
        token, authorities = folder / "token", folder / "ca.crt"
        said = token.read_text(encoding="utf-8", errors="replace").strip() if token.is_file() else ""
        return cls(said or None, authorities if authorities.is_file() else None)


class JudgeEndpoint:
    """Asks with the least freedom that the protocol has: temperature 0 and a fixed seed."""

    def __init__(
        self,
        judge: Judge,
        access: Access,
        seed: int,
        *,
        tries: int = _TRIES,
        pause_seconds: float = _PAUSE_SECONDS,
        patience_seconds: float = 120.0,
    ) -> None:
        self._judge = judge
        self._seed = seed
        self._tries, self._pause, self._patience = tries, pause_seconds, patience_seconds
        self._client = AsyncClient(
            headers=_authorization(access.token),
            verify=_trusted(access.authorities),
            timeout=Timeout(patience_seconds, connect=_CONNECT_SECONDS),
            trust_env=False,
            follow_redirects=False,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self._client.aclose()

    async def ask(self, messages: list[Message]) -> Reply:
        """One reply. Raises ``StorageError`` when the judge cannot be reached, also after a few tries, else ``ConfigurationError``."""
        failure = ""
        for attempt in range(self._tries):
            try:
                async with asyncio.timeout(self._patience):
                    status, later, content = await self._send(messages)
            except (TransportError, TimeoutError) as error:
                failure, wait = type(error).__name__, None
            except InvalidURL:
                raise self._refused("JudgeRefused", "no address that can be dialled", "Correct spec.evaluation.judge.endpoint.") from None
            else:
                if status not in _BUSY:
                    return self._read(status, content)
                failure, wait = f"HTTP {status}", later
            if attempt + 1 < self._tries:
                await asyncio.sleep(self._wait(attempt, wait))
        raise StorageError(
            "JudgeUnreachable",
            f"{FIELD}.endpoint: {self._judge.endpoint} could not be reached or failed, tried {self._tries} times ({failure})",
            "Check the judge, its certificate and the network policies of the namespace: the next attempt goes on from the trained model.",
        )

    async def _send(self, messages: list[Message]) -> tuple[int, str | None, bytes]:
        """Status, how long to wait if it asks for that, and as much of the answer as a verdict may take."""
        content = b""
        async with self._client.stream("POST", f"{self._judge.endpoint.rstrip('/')}/chat/completions", json=self._body(messages)) as answer:
            async for part in answer.aiter_bytes():
                content += part
                if len(content) > _REPLY_BYTES:
                    break
            return answer.status_code, answer.headers.get("Retry-After"), content

    def _body(self, messages: list[Message]) -> dict[str, Any]:
        return {
            "model": self._judge.model,
            "messages": messages,
            "temperature": 0,
            "seed": self._seed,
            "max_tokens": REPLY_TOKENS,
            "stream": False,
        }

    def _wait(self, attempt: int, asked: str | None) -> float:
        if asked is not None and asked.isascii() and asked.isdigit():
            return min(float(asked), _MOST_PAUSE_SECONDS)
        return min(self._pause * 2.0**attempt, _MOST_PAUSE_SECONDS)

    def _read(self, status: int, content: bytes) -> Reply:
        if status in _UNFIT:
            return Reply(None)
        if status in (401, 403):
            hint = "Put a token that may use the model into the Secret that spec.evaluation.judge.credentialsSecretRef names (key token)."
            raise self._refused("JudgeRefused", f"refuses the token, or that there is none (HTTP {status})", hint)
        if status != 200:
            hint = "Name the base URL as OpenAI's clients do, such as http://HOST/v1, and a model that is served there."
            raise self._refused("JudgeRefused", f"knows no such model or no chat completions (HTTP {status})", hint)
        try:
            document = json.loads(content)
            text = document["choices"][0]["message"].get("content")
        except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError):
            hint = "Name an endpoint of the shape of OpenAI's chat completions."
            raise self._refused("JudgeRefused", "answers in another form than OpenAI's chat completions", hint) from None
        return Reply(text if isinstance(text, str) else "", _name(document.get("model")), _name(document.get("system_fingerprint")))

    def _refused(self, reason: str, what: str, hint: str) -> StepError:
        return ConfigurationError(reason, f"{FIELD}: {self._judge.endpoint} with model {self._judge.model}: {what}", hint)


def _authorization(token: str | None) -> dict[str, str]:
    if token is not None and not re.fullmatch("[!-~]+", token):
        message = f"{FIELD}.credentialsSecretRef: its key token holds more than one line, or more than plain characters"
        raise ConfigurationError("JudgeCredentialsInvalid", message, "Put the bare token into the Secret.")
    return {} if token is None else {"Authorization": f"Bearer {token}"}


def _trusted(authorities: Path | None) -> ssl.SSLContext | bool:
    if authorities is None:
        return True
    try:
        return ssl.create_default_context(cafile=str(authorities))
    except (OSError, ValueError) as error:
        message = f"{FIELD}.credentialsSecretRef: its key ca.crt holds no certificates ({type(error).__name__})"
        raise ConfigurationError("JudgeCredentialsInvalid", message, "Put the certificates of the authorities there, as PEM.") from error


def _name(told: object) -> str | None:
    """What comes from outside goes on only if it looks like a name."""
    return told if isinstance(told, str) and _NAME.fullmatch(told) else None
