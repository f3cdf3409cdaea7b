"""Looks at the engine: who answers, since when, and with which models."""

from datetime import datetime

from finetune_inference.agent.knowledge import UNKNOWN_START, EngineView
from finetune_inference.contract import Finding
from finetune_inference.engine import AdapterEngine, EngineAway, EngineError

_FRESH = 10.0
"""vLLM's ``created`` is the time of the answer; one older than this many seconds is that of a start."""


async def look(engine: AdapterEngine, now: datetime) -> EngineView:
    """One view. An engine that does not answer, or not as one, is not reachable; nothing is raised for it."""
    try:
        models = await engine.models()
        started = await engine.started()
    except EngineError as error:
        way_out = error.way_out if not isinstance(error, EngineAway) else EngineAway.way_out
        return EngineView(
            reachable=False, finding=Finding(field="engine", reason=error.reason, message=error.message[:512], way_out=way_out)
        )
    if started is None:
        created = next((model.created for model in models if model.parent is None and model.created), None)
        started = f"created-{created}" if created is not None and now.timestamp() - created > _FRESH else UNKNOWN_START
    return EngineView(reachable=True, started=started, models=models)
