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
PROGRAM = "import sys; from finetune_inference.cli.main import main; sys.exit(main(sys.argv[1:]))"


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


@dataclass
class Server:
    """A process of the server, and what it said when it began to listen."""

    process: "subprocess.Popen[str]"
    port: int
    admin_port: int
    errors: Path

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
def start_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Server]]:
    """Start a server on free ports; all are ended after the tests."""
    started: list[Server] = []

    def start(base: Path, *flags: str) -> Server:
        errors = tmp_path_factory.mktemp("server") / "stderr"
        command = [
            sys.executable,
            "-c",
            PROGRAM,
            "serve",
            "--model",
            str(base),
            "--served-model-name",
            "base",
            "--port",
            "0",
            "--admin-port",
            "0",
        ]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        with errors.open("w") as sink:
            process = subprocess.Popen([*command, *flags], stdout=subprocess.PIPE, stderr=sink, text=True, env=environment)
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, errors.read_text()
        said = json.loads(line)
        started.append(Server(process, said["port"], said["adminPort"], errors))
        return started[-1]

    yield start
    for server in started:
        if server.process.poll() is None:
            server.process.send_signal(signal.SIGKILL)
        server.process.wait(GUARD)


@pytest.fixture(scope="session")
def adapters(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
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
def server(start_server: Callable[..., Server], tiny_base: Path, adapters: dict[str, Path]) -> Server:
    flags = [flag for name, path in adapters.items() for flag in ("--lora", f"{name}={path}")]
    return start_server(tiny_base, "--max-loras", "12", "--max-lora-rank", "16", "--max-prefill-tokens", "128", *flags)


@pytest.fixture(scope="session")
def openai(server: Server) -> Any:
    import openai

    return openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0, timeout=GUARD)
