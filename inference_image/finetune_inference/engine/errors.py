"""How an engine says no, in the few classes that call for different actions."""

from typing import ClassVar


class EngineError(Exception):
    """``reason`` is CamelCase and stable, ``way_out`` says what to do next."""

    reason: ClassVar[str]
    way_out: ClassVar[str]

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class EngineAway(EngineError):
    """Nobody answers, or not in time: it starts, restarts or hangs."""

    reason = "EngineUnreachable"
    way_out = "Nothing: it is tried again. If it stays away, look at the engine container."


class NotAuthorized(EngineError):
    reason = "EngineKeyRejected"
    way_out = "Give the agent the key that the engine was started with."


class KeyUnusable(EngineError):
    """No header can carry the key, so the engine is not asked at all."""

    reason = "EngineKeyUnusable"
    way_out = "Write the engine's key as one line, without control characters, and nothing else beside it."


class LoadingOff(EngineError):
    """The engine has no route to load adapters at run time."""

    reason = "RuntimeLoadingOff"
    way_out = "Start vLLM with --enable-lora and VLLM_ALLOW_RUNTIME_LORA_UPDATING=True, and with one API server process."


class NameTaken(EngineError):
    """The engine holds this name with files from elsewhere."""

    reason = "NameTaken"
    way_out = "Nothing: the agent unloads the other adapter and loads this one."


class AdapterNotFound(EngineError):
    """The engine finds no adapter at the path, or none of that name."""

    reason = "AdapterNotFound"
    way_out = "Mount the agent's store into the engine's container at the path given by --engine-store."


class Refused(EngineError):
    """The engine has the files and does not take them; the message is its own."""

    reason = "LoadRefused"
    way_out = "The message is the engine's. Change the adapter or the engine's limits, or deploy with mode: Merged."


class AnswerUnreadable(EngineError):
    reason = "AnswerUnreadable"
    way_out = "The engine does not speak the OpenAI API as vLLM does: check its address and version."
