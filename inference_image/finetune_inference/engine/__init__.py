"""The client of an engine's OpenAI and adapter API, as vLLM has it and the server of ours copies it."""

from finetune_inference.engine.answers import ServedModel
from finetune_inference.engine.client import AdapterEngine, EngineClient, EngineTimeouts
from finetune_inference.engine.errors import (
    AdapterNotFound,
    AnswerUnreadable,
    EngineAway,
    EngineError,
    KeyUnusable,
    LoadingOff,
    NameTaken,
    NotAuthorized,
    Refused,
)

__all__ = [
    "AdapterEngine",
    "AdapterNotFound",
    "AnswerUnreadable",
    "EngineAway",
    "EngineClient",
    "EngineError",
    "EngineTimeouts",
    "KeyUnusable",
    "LoadingOff",
    "NameTaken",
    "NotAuthorized",
    "Refused",
    "ServedModel",
]
