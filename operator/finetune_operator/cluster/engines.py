"""Asks engines of the user's own, at their pods' addresses, over vLLM's adapter API; the client is the one that agents use.

Nothing is kept between two calls, so that a pod that is gone leaves nothing behind. Looks are short, because a decision waits for them;
a load may take minutes and is nobody's to wait for.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple

from finetune_inference.contract import Finding, FingerprintToken
from finetune_inference.contract.proof import ALTERNATIVES, PROMPT, effect_of, fingerprint
from finetune_inference.engine import EngineClient, EngineError, EngineTimeouts, LoadingOff, NotAuthorized
from finetune_operator.manifests.serving import ENGINE_KEY_ENTRY, ENGINE_KEY_SECRET

LOOK: Final = EngineTimeouts(connect=1.0, read=2.0)
WORK: Final = EngineTimeouts(connect=2.0, read=5.0, load=900.0, unload=60.0, probe=60.0)
_FRESH: Final = 10.0
"""vLLM's ``created`` is the time of the answer; one older than this many seconds is that of a start."""
_WAYS_OUT: Final = {
    "EngineUnreachable": "Nothing: it is asked again. If it lasts, look at the pod, spec.server.external.port and network policies.",
    "EngineKeyRejected": f"Put the engine's API key into Secret {ENGINE_KEY_SECRET} of this namespace, as {ENGINE_KEY_ENTRY}.",
    "EngineKeyUnusable": f"Write the key alone, as one line, into Secret {ENGINE_KEY_SECRET} of this namespace, as {ENGINE_KEY_ENTRY}.",
    "NameTaken": "Nothing: the other adapter is unloaded and this one loaded.",
    "AdapterNotFound": "Mount the adapter's claim into the engine's container, and name that place in server.external.adapterMountPath.",
    "LoadRefused": "The message is the engine's. Change the adapter or the engine's limits.",
    "AnswerUnreadable": "Check spec.server.external.port. If only the probe's answer is meant, set preflight.effectProbe to Off.",
    LoadingOff.reason: LoadingOff.way_out,
}


class PushFailed(Exception):
    """An engine did not do what it was asked for."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(finding.message)
        self.finding = finding


class Model(NamedTuple):
    """An entry of the model list. ``root`` is where its weights came from; adapters have a ``parent``."""

    name: str
    root: str
    parent: str | None


@dataclass(frozen=True)
class EngineAnswer:
    """``started`` identifies the engine's process; empty where it does not say."""

    started: str
    models: tuple[Model, ...]


@dataclass(frozen=True)
class Proof:
    """The largest change of a log-probability by the adapter, the engine's own noise, and the adapter's likeliest first tokens, hashed."""

    effect: float
    noise: float
    tokens: tuple[FingerprintToken, ...]


class Engines:
    """``key`` is the engine's API key, or None; it goes into a header and nowhere else."""

    async def look(self, url: str, key: str | None, now: datetime) -> EngineAnswer:
        """Who answers, since when, and with which models. Raises `PushFailed`."""
        async with _client(url, key, LOOK) as engine:
            models = await engine.models()
            started = await engine.started()
        if started is None:
            created = next((model.created for model in models if model.parent is None and model.created), None)
            started = f"created-{created}" if created is not None and now.timestamp() - created > _FRESH else ""
        return EngineAnswer(started, tuple(Model(model.name, model.root or "", model.parent) for model in models))

    async def load(self, url: str, key: str | None, name: str, path: str, *, replace: bool) -> None:
        """Return when the engine lists ``name`` from ``path``. Raises `PushFailed`."""
        async with _client(url, key, WORK) as engine:
            if replace:
                await engine.unload(name)
            await engine.load(name, path)

    async def unload(self, url: str, key: str | None, name: str) -> None:
        """Return when the engine does not list ``name`` any more. Raises `PushFailed`."""
        async with _client(url, key, WORK) as engine:
            await engine.unload(name)

    async def prove(self, url: str, key: str | None, name: str, base: str) -> Proof:
        """Ask for one token, the base model before and after. Raises `PushFailed`."""
        async with _client(url, key, WORK) as engine:
            before = await engine.first_token(base, PROMPT, ALTERNATIVES)
            adapter = await engine.first_token(name, PROMPT, ALTERNATIVES)
            after = await engine.first_token(base, PROMPT, ALTERNATIVES)
        effect, noise = effect_of(adapter, before, after)
        return Proof(effect, noise, fingerprint(adapter))


@asynccontextmanager
async def _client(url: str, key: str | None, timeouts: EngineTimeouts) -> AsyncIterator[EngineClient]:
    """Raises `PushFailed` for every error of the engine, with a way out that fits an engine which is not ours."""
    client = EngineClient(url, key=lambda: key, timeouts=timeouts)
    try:
        yield client
    except EngineError as error:
        text = error.message if not isinstance(error, NotAuthorized) or key else f"{error.message}, and no key is known"
        way_out = _WAYS_OUT.get(error.reason, error.way_out)
        raise PushFailed(Finding(field="engine", reason=error.reason, message=text[:512], way_out=way_out)) from error
    finally:
        await client.close()
