"""The agent's own small server: its status for the operator, probes for the kubelet, metrics for Prometheus.

Ready is answered from a look at the engine that begins after the question, so that a pod whose engine has just restarted is not ready by
an old belief. Alive means that the loop turns: an engine or a source that is away is no reason to be killed.
Verified means that an engine may read what is wanted: one that serves a merged model is not started before.
"""

from typing import Final

from aiohttp import web

from finetune_inference.agent.loop import Agent
from finetune_inference.agent.metrics import Metrics
from finetune_inference.contract import AgentStatus, VersionState

SILENCE_LIMIT: Final = 60.0
PATIENCE: Final = 2.0


class StatusServer:
    """Listens on `start`, and tells the port it got."""

    def __init__(self, agent: Agent, metrics: Metrics) -> None:
        self._agent = agent
        self._metrics = metrics
        self._runner: web.AppRunner | None = None
        self.port = 0

    async def start(self, address: str, port: int) -> None:
        """Raises ``OSError`` if the port is taken."""
        app = web.Application()
        app.add_routes(
            [
                web.get("/status", self._status),
                web.get("/readyz", self._readyz),
                web.get("/healthz", self._healthz),
                web.get("/verifiedz", self._verifiedz),
                web.get("/metrics", self._exposition),
            ]
        )
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        await web.TCPSite(self._runner, address, port).start()
        self.port = int(self._runner.addresses[0][1])

    async def close(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _status(self, _request: web.Request) -> web.Response:
        return web.Response(text=self._agent.status().to_json(), content_type="application/json")

    async def _readyz(self, _request: web.Request) -> web.Response:
        if not await self._agent.look_now(PATIENCE):
            return web.Response(status=503, text="the engine did not answer in time\n")
        status = self._agent.status()
        return web.Response(text="ok\n") if status.ready else web.Response(status=503, text=unready(status))

    async def _healthz(self, _request: web.Request) -> web.Response:
        silence = self._agent.silence
        if silence > SILENCE_LIMIT:
            return web.Response(status=503, text=f"the loop has not turned for {silence:.0f} s\n")
        return web.Response(text="ok\n")

    async def _verifiedz(self, _request: web.Request) -> web.Response:
        if self._agent.verified:
            return web.Response(text="ok\n")
        return web.Response(status=503, text=unready(self._agent.status()))

    async def _exposition(self, _request: web.Request) -> web.Response:
        return web.Response(body=self._metrics.render(), headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})


def unready(status: AgentStatus) -> str:
    """One line for each thing that is waited for."""
    lines = [f"engine: {status.engine.message}"] if status.engine.message else []
    if status.generation == 0:
        lines.append(f"desired set: {status.source_message}")
    lines += [
        f"{version.name}: {version.state.value} {version.reason or ''}".rstrip()
        for version in status.versions
        if version.required and version.state is not VersionState.LOADED
    ]
    return "\n".join(lines) + "\n"
