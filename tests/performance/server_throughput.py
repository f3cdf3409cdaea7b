"""What our server makes of a processor, against the other server that runs the same models in the same library.

Both servers are processes of their own with one computing thread each and the same model; their clients take turns, round by round, so
that a shared machine slows both alike. Counted are generated tokens per second. A merged adapter is a plain model, so that is what both
serve; then our server takes two adapters at once, half the clients each, which no other server of that library does.

``transformers serve`` needs packages that our images lack, fastapi among them; the development environment has them.
"""

import asyncio
import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from tests.performance.report import Limit, Section

CLIENTS = (1, 4, 16)
PROMPT_WORDS = 100
ANSWER = 48
SHAPE = {"hidden_size": 192, "intermediate_size": 576, "num_hidden_layers": 4, "num_attention_heads": 3, "num_key_value_heads": 1}
VOCABULARY = 2048
AGAINST_OTHERS, MIXED = 0.9, 0.4
OTHER_SERVER = "transformers serve"
OTHER_FLAGS = ("--continuous-batching", "--cb-num-blocks", "256", "--cb-block-size", "32")


def run(full: bool) -> Section:
    """``full`` takes more rounds, and more requests in each."""
    rounds, requests = (7, 64) if full else (3, 32)
    with tempfile.TemporaryDirectory(prefix="server-throughput-") as name:
        folder = Path(name)
        base = build_base(folder / "base")
        adapters = {f"adapter-{seed}": build_adapter(base, folder / f"adapter-{seed}", seed) for seed in (1, 2)}
        measured = asyncio.run(measure(base, adapters, rounds, requests))
    rows = [
        (
            f"merged, {clients} clients",
            f"{measured.rate('ours', clients):.0f}",
            f"{measured.rate('other', clients):.0f}",
            f"{measured.ratio('ours', 'other', clients):.2f}",
        )
        for clients in CLIENTS
    ]
    for series, text in (("one", "one adapter"), ("two", "two adapters mixed")):
        rows.append(
            (f"{text}, 16 clients", f"{measured.rate(series, 16):.0f}", "not served", f"{measured.ratio(series, 'ours', 16):.2f} of merged")
        )
    return Section(
        title="Server throughput",
        flags=f"Llama of 2 M parameters, fp32, one thread each, prompts of about {PROMPT_WORDS} tokens, answers of {ANSWER}, greedy; "
        f"{rounds} interleaved rounds of {requests} requests; medians. Other: {OTHER_SERVER} {' '.join(OTHER_FLAGS)}. "
        "Ours: serve with default flags",
        columns=("traffic", "ours, tokens/s", "other, tokens/s", "ratio"),
        rows=tuple(rows),
        limits=(
            *(
                Limit(f"ours over other at {clients} clients", measured.ratio("ours", "other", clients), AGAINST_OTHERS, at_most=False)
                for clients in CLIENTS
            ),
            Limit("two adapters over merged at 16 clients", measured.ratio("two", "ours", 16), MIXED, at_most=False),
        ),
    )


@dataclass
class Measured:
    """Tokens per second by series and number of clients, one entry per round."""

    rates: dict[tuple[str, int], list[float]] = field(default_factory=dict)

    def add(self, series: str, clients: int, rate: float) -> None:
        self.rates.setdefault((series, clients), []).append(rate)

    def rate(self, series: str, clients: int) -> float:
        return median(self.rates[series, clients])

    def ratio(self, series: str, against: str, clients: int) -> float:
        """Median of the rounds' ratios: both sides of a round ran within seconds of each other."""
        pairs = zip(self.rates[series, clients], self.rates[against, clients], strict=True)
        return median(ours / other for ours, other in pairs)


Ask = Callable[[int], Awaitable[int]]
"""Sends request number n and returns how many tokens came back."""


async def measure(base: Path, adapters: dict[str, Path], rounds: int, requests: int) -> Measured:
    """Let both servers take turns."""
    import aiohttp

    measured = Measured()
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=600)) as session:
        with our_server(base, adapters) as url:
            async with other_server(session, base) as other:
                names = list(adapters)
                ours = asking(session, url, lambda _: "merged")
                one = asking(session, url, lambda _: names[0])
                two = asking(session, url, lambda number: names[number % 2])
                for ask in (ours, other, one, two):
                    await rate_of(ask, 4, 8)  # warms up and does not count
                for _ in range(rounds):
                    for clients in CLIENTS:
                        count = max(12, requests * clients // max(CLIENTS))
                        measured.add("ours", clients, await rate_of(ours, clients, count))
                        measured.add("other", clients, await rate_of(other, clients, count))
                    measured.add("one", 16, await rate_of(one, 16, requests))
                    measured.add("two", 16, await rate_of(two, 16, requests))
    return measured


async def rate_of(ask: Ask, clients: int, requests: int) -> float:
    """Tokens per second of so many clients who each wait for an answer before they ask again."""
    numbers = iter(range(requests))

    async def client() -> int:
        return sum([await ask(number) for number in numbers])

    began = time.perf_counter()
    tokens = sum(await asyncio.gather(*(client() for _ in range(clients))))
    return tokens / (time.perf_counter() - began)


def asking(session: Any, url: str, model: Callable[[int], str]) -> Ask:
    async def ask(number: int) -> int:
        body = {"model": model(number), "prompt": prompt(number), "max_tokens": ANSWER, "temperature": 0}
        async with session.post(f"{url}/v1/completions", json=body) as response:
            answer = await response.json()
            assert response.status == 200, answer
        return int(answer["usage"]["completion_tokens"])

    return ask


def prompt(number: int) -> str:
    return " ".join(f"t{(number * 37 + place * 11) % VOCABULARY}" for place in range(PROMPT_WORDS + number % 17))


@contextlib.contextmanager
def our_server(base: Path, adapters: dict[str, Path]) -> Iterator[str]:
    flags = [flag for name, path in adapters.items() for flag in ("--lora", f"{name}={path}")]
    program = "import sys; from finetune_inference.cli.main import main; sys.exit(main(sys.argv[1:]))"
    command = [
        sys.executable,
        "-c",
        program,
        "serve",
        "--model",
        str(base),
        "--served-model-name",
        "merged",
        "--port",
        "0",
        "--admin-port",
        "0",
        *flags,
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=one_thread()) as process:
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{json.loads(process.stdout.readline())['port']}"
        finally:
            process.terminate()


@contextlib.asynccontextmanager
async def other_server(session: Any, base: Path) -> AsyncIterator[Ask]:
    port = free_port()
    command = [
        sys.executable,
        "-m",
        "transformers.cli.transformers",
        "serve",
        str(base),
        "--port",
        str(port),
        "--host",
        "127.0.0.1",
        *OTHER_FLAGS,
    ]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=one_thread()) as process:  # noqa: ASYNC220
        try:
            url = f"http://127.0.0.1:{port}"
            await answering(session, f"{url}/health", process)
            yield asking(session, url, lambda _: str(base))
        finally:
            process.kill()


async def answering(session: Any, url: str, process: "subprocess.Popen[bytes]") -> None:
    """Wait until a server answers."""
    import aiohttp

    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(aiohttp.ClientError):
            async with session.get(url) as response:
                if response.status == 200:
                    return
        await asyncio.sleep(0.1)
    raise AssertionError("the other server did not start")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def one_thread() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "HF_HUB_OFFLINE": "1"}


def build_base(folder: Path) -> Path:
    """A model with random weights: what it says does not matter here, how long it takes does."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    torch.manual_seed(0)
    ids = {"bos_token_id": 0, "eos_token_id": VOCABULARY - 1, "pad_token_id": VOCABULARY - 2}
    model = LlamaForCausalLM(
        LlamaConfig(vocab_size=VOCABULARY, tie_word_embeddings=True, max_position_embeddings=1024, initializer_range=0.04, **SHAPE, **ids)
    )
    model.generation_config = GenerationConfig(do_sample=False, **ids)
    model.save_pretrained(folder)
    words = Tokenizer(models.WordLevel({f"t{number}": number for number in range(VOCABULARY)}, unk_token="t0"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    special = {"eos_token": f"t{VOCABULARY - 1}", "pad_token": f"t{VOCABULARY - 2}", "unk_token": "t0"}
    PreTrainedTokenizerFast(tokenizer_object=words, **special).save_pretrained(folder)
    return folder


def build_adapter(base: Path, folder: Path, seed: int) -> Path:
    """A LoRA of rank 16 on every linear layer."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(seed)
    settings = LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM", init_lora_weights=False)
    get_peft_model(AutoModelForCausalLM.from_pretrained(str(base)), settings).save_pretrained(str(folder))
    return folder
