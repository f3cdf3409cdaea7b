"""One real server for most of these tests, started once: a tiny base model, adapters of every kind, and official clients."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

GUARD = 120
"""Seconds after which something is broken, not slow."""
LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


@dataclass(frozen=True)
class Reply:
    status: int
    body: bytes
    headers: dict[str, str]

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> Any:
        return self.json["error"]


class Forge:
    """The warm parent's other end."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._running: dict[int, int] = {}
        self._parent = subprocess.Popen(
            [sys.executable, "-m", "tests.process.server.forge"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            text=True,
        )
        self._ready = False

    def start(self, *arguments: str) -> "Process":
        """Start a server with these flags, on free ports unless they name some."""
        if not self._ready:
            self._ready = self._read() == {"ready": True}
        out, err = (self._folder / f"{len(self._running)}.{name}" for name in ("out", "err"))
        flags = ["serve", "--port", "0", "--admin-port", "0", *arguments]
        pid = int(self._ask({"start": flags, "out": str(out), "err": str(err)})["pid"])
        self._running[pid] = pid
        return Process(self, pid, out, err)

    def wait(self, pid: int) -> int:
        status = int(self._ask({"wait": pid})["status"])
        self._running[pid] = 0
        return status

    def close(self) -> None:
        for pid in [pid for pid in self._running.values() if pid]:
            os.kill(pid, signal.SIGKILL)
            self.wait(pid)
        assert self._parent.stdin is not None
        self._parent.stdin.close()
        self._parent.wait(GUARD)

    def _ask(self, command: dict[str, Any]) -> dict[str, Any]:
        assert self._parent.stdin is not None
        self._parent.stdin.write(json.dumps(command) + "\n")
        self._parent.stdin.flush()
        return self._read()

    def _read(self) -> dict[str, Any]:
        assert self._parent.stdout is not None
        line = self._parent.stdout.readline()
        assert line, "the warm parent died"
        return dict(json.loads(line))


@dataclass(frozen=True)
class Process:
    forge: Forge
    pid: int
    out: Path
    err: Path

    def events(self) -> list[dict[str, Any]]:
        """What it said on standard output."""
        return [json.loads(line) for line in self.out.read_text().rpartition("\n")[0].splitlines()] if self.out.exists() else []

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def wait(self) -> int:
        return self.forge.wait(self.pid)

    @property
    def ended(self) -> bool:
        state = Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
        return state == "Z"


@dataclass(frozen=True)
class Server:
    """A process of the server, and the ports it said it listens on."""

    process: Process
    port: int
    admin_port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def admin_url(self) -> str:
        return f"http://127.0.0.1:{self.admin_port}"

    def ask(self, path: str, body: Any = None, *, admin: bool = False) -> Reply:
        data = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.admin_url if admin else self.url}{path}", data, {"content-type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=GUARD) as reply:
                return Reply(reply.status, reply.read(), dict(reply.headers))
        except urllib.error.HTTPError as error:
            return Reply(error.code, error.read(), dict(error.headers))

    def load(self, name: str, path: Path | str) -> Reply:
        return self.ask("/v1/load_lora_adapter", {"lora_name": name, "lora_path": str(path)}, admin=True)

    def unload(self, name: str) -> Reply:
        return self.ask("/v1/unload_lora_adapter", {"lora_name": name}, admin=True)

    def models(self) -> dict[str, Any]:
        return {model["id"]: model for model in self.ask("/v1/models").json["data"]}

    def metric(self, name: str, **labels: str) -> float:
        families = text_string_to_metric_families(self.ask("/metrics").body.decode())
        samples = [sample for family in families for sample in family.samples if sample.name == name]
        return sum(sample.value for sample in samples if labels.items() <= sample.labels.items())

    def resident_kilobytes(self) -> int:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(next(line.split()[1] for line in status.splitlines() if line.startswith("RssAnon")))


def until(true: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + GUARD
    while not true():
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.01)


@pytest.fixture(scope="session")
def forge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forge]:
    made = Forge(tmp_path_factory.mktemp("servers"))
    yield made
    made.close()


@pytest.fixture(scope="session")
def start_server(forge: Forge, tiny_base: Path) -> Callable[..., Server]:
    """Start a server, of the tiny base model unless told otherwise; it is ended after the tests."""

    def start(*flags: str, model: Path = tiny_base) -> Server:
        process = forge.start("--model", str(model), "--served-model-name", "base", *flags)
        until(lambda: bool(process.events()) or process.ended, "it listens")
        assert process.events(), process.err.read_text()
        said = process.events()[0]
        return Server(process, said["port"], said["adminPort"])

    return start


@pytest.fixture(scope="session")
def adapters(forge: Forge, tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Adapters with random weights, strong enough to change every answer."""
    import torch
    from peft import (
        IA3Config,
        LoraConfig,
        PrefixTuningConfig,
        PromptEncoderConfig,
        PromptTuningConfig,
        get_peft_model,
    )
    from transformers import AutoModelForCausalLM

    task = {"task_type": "CAUSAL_LM"}
    configs: dict[str, Any] = {
        "lora": LoraConfig(r=4, lora_alpha=8, target_modules=LINEAR, **task),
        "rslora": LoraConfig(r=8, lora_alpha=8, use_rslora=True, target_modules=["q_proj", "v_proj"], **task),
        "pattern": LoraConfig(r=2, rank_pattern={"q_proj": 6}, alpha_pattern={"v_proj": 3}, target_modules=["q_proj", "v_proj"], **task),
        "dora": LoraConfig(r=4, lora_alpha=8, use_dora=True, target_modules=LINEAR, **task),
        "ia3": IA3Config(target_modules=["k_proj", "v_proj", "down_proj"], feedforward_modules=["down_proj"], **task),
        "prompt": PromptTuningConfig(num_virtual_tokens=5, **task),
        "ptuning": PromptEncoderConfig(num_virtual_tokens=5, encoder_hidden_size=32, **task),
        "prefix": PrefixTuningConfig(num_virtual_tokens=5, num_layers=2, num_attention_heads=2, token_dim=32, **task),
    }
    folder = tmp_path_factory.mktemp("adapters")
    for seed, (name, config) in enumerate(configs.items()):
        torch.manual_seed(seed)
        model = get_peft_model(AutoModelForCausalLM.from_pretrained(str(tiny_base)), config)
        for parameter_name, parameter in model.named_parameters():
            if parameter.requires_grad:
                around = 1.0 if "magnitude" in parameter_name or "ia3" in parameter_name else 0.0
                torch.nn.init.normal_(parameter, around, 0.3)
        model.save_pretrained(str(folder / name))
    return {name: folder / name for name in configs}


@pytest.fixture(scope="session")
def server(start_server: Callable[..., Server], adapters: dict[str, Path]) -> Server:
    flags = [flag for name, path in adapters.items() for flag in ("--lora", f"{name}={path}")]
    return start_server("--max-loras", "12", "--max-lora-rank", "16", "--max-prefill-tokens", "128", *flags)


@pytest.fixture(scope="session")
def openai(server: Server) -> Any:
    import openai

    return openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0, timeout=GUARD)
