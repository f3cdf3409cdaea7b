"""What the server is started with. Names follow vLLM's flags where they mean the same."""

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class ServerOptions:
    """``max_model_len`` and ``max_total_tokens`` None: what the model allows, and as much as all sequences could need."""

    model: Path
    served_model_name: str
    host: str = "127.0.0.1"
    port: int = 8000
    admin_host: str = "127.0.0.1"
    admin_port: int = 8001
    device: str = "auto"
    dtype: str = "auto"
    max_loras: int = 8
    max_lora_rank: int = 64
    max_num_seqs: int = 16
    max_model_len: int | None = None
    max_total_tokens: int | None = None
    max_prefill_tokens: int = 1024
    max_waiting: int = 256
    shutdown_timeout: float = 30.0
    adapters: dict[str, str] = field(default_factory=dict)


class OptionsRefused(Exception):
    """An option that this model or machine cannot honour; the message names it."""
