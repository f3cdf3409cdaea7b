"""The inference server on an accelerator, with the versions of this machine: answers as PEFT gives them, and memory that is given back."""

import importlib.util
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import cast

import pytest

from tests.process.server.conftest import Forge, Process, Server, adapters, start_server, until  # noqa: F401 - fixtures
from tests.unit.trainer.conftest import tiny_base  # noqa: F401 - a fixture

torch = pytest.importorskip("torch", reason="torch is not installed: nothing can run on the accelerator")
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no accelerator: torch.cuda.is_available() is false on this machine"),
]
for needed in ("starlette", "uvicorn", "aiohttp", "peft"):
    pytest.importorskip(needed, reason=f"the inference server cannot run: {needed} is not installed")

KINDS = ["lora", "rslora", "pattern", "dora", "ia3", "prompt", "ptuning", "prefix"]
PROMPT = [random.Random(2).randrange(4, 600) for _ in range(30)]
TOKENS = 24
ROUNDS = 20


class FreshProcesses:
    """Starts servers without a warm parent: its libraries have looked at the accelerator, and what is forked after that cannot use it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._started: dict[int, subprocess.Popen[bytes]] = {}

    def start(self, *arguments: str) -> Process:
        out, err = (self._folder / f"{len(self._started)}.{name}" for name in ("out", "err"))
        program = "import sys; from finetune_inference.cli.main import main; sys.exit(main(sys.argv[1:]))"
        command = [sys.executable, "-c", program, "serve", "--port", "0", "--admin-port", "0", *arguments]
        with out.open("wb") as stdout, err.open("wb") as stderr:
            started = subprocess.Popen(command, stdout=stdout, stderr=stderr)
        self._started[started.pid] = started
        return Process(cast("Forge", self), started.pid, out, err)

    def close(self) -> None:
        for started in self._started.values():
            started.kill()
            started.wait()


@pytest.fixture(scope="session")
def forge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FreshProcesses]:
    made = FreshProcesses(tmp_path_factory.mktemp("servers"))
    yield made
    made.close()


@pytest.fixture(scope="module")
def exact(start_server: Callable[..., Server], adapters: dict[str, Path]) -> Server:  # noqa: F811
    """In full precision, where the same text is owed whatever else is in the batch."""
    loaded = [flag for name in KINDS for flag in ("--lora", f"{name}={adapters[name]}")]
    return start_server("--dtype", "float32", "--max-loras", "12", "--max-lora-rank", "16", "--max-prefill-tokens", "128", *loaded)


def test_it_takes_the_accelerator_and_bf16_by_itself(start_server: Callable[..., Server]) -> None:  # noqa: F811
    server = start_server()
    said = server.process.events()[0]
    assert (said["device"].partition(":")[0], said["dtype"]) == ("cuda", "bfloat16")
    answer = server.ask("/v1/chat/completions", {"model": "base", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 8})
    assert answer.status == 200, answer.body


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_of_adapter_answers_as_peft_does_there(
    exact: Server,
    tiny_base: Path,  # noqa: F811
    adapters: dict[str, Path],  # noqa: F811
    name: str,
) -> None:
    asked = {"model": name, "prompt": PROMPT, "max_tokens": TOKENS, "temperature": 0, "ignore_eos": True, "logprobs": 0}
    told = exact.ask("/v1/completions", asked)
    assert told.status == 200, told.body
    assert told.json["choices"][0]["logprobs"]["tokens"] == by_peft(tiny_base, adapters[name])


def by_peft(base: Path, adapter: Path) -> list[str]:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    plain = AutoModelForCausalLM.from_pretrained(str(base), dtype=torch.float32).to("cuda")
    model = PeftModel.from_pretrained(plain, str(adapter)).to("cuda").eval()
    prompt = torch.tensor([PROMPT], device="cuda")
    generated = model.generate(
        input_ids=prompt, attention_mask=torch.ones_like(prompt), do_sample=False, max_new_tokens=TOKENS, eos_token_id=None
    )
    spelled = AutoTokenizer.from_pretrained(str(base)).backend_tokenizer
    return [spelled.decode([token], skip_special_tokens=False) for token in generated[0].tolist()[len(PROMPT) :]]


def test_a_mixed_batch_gives_the_text_of_separate_runs(exact: Server) -> None:
    rng = random.Random(1)
    models = ["base", *KINDS]
    asked = [
        {
            "model": models[number % len(models)],
            "prompt": [rng.randrange(4, 600) for _ in range(rng.choice([1, 9, 40, 200]))],
            "max_tokens": rng.randint(8, 40),
            "temperature": 0,
            "ignore_eos": True,
        }
        for number in range(4 * len(models))
    ]

    def text(fields: object) -> str:
        reply = exact.ask("/v1/completions", fields)
        assert reply.status == 200, reply.body
        return str(reply.json["choices"][0]["text"])

    separate = [text(fields) for fields in asked]
    with ThreadPoolExecutor(len(asked)) as clients:
        assert list(clients.map(text, asked)) == separate


def test_a_base_model_in_four_bits_is_served(
    start_server: Callable[..., Server],  # noqa: F811
    tiny_base: Path,  # noqa: F811
    adapters: dict[str, Path],  # noqa: F811
    tmp_path: Path,
) -> None:
    if importlib.util.find_spec("bitsandbytes") is None:
        pytest.skip("a base model in four bits cannot be served: bitsandbytes is not installed")
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig

    settings = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.float32)
    AutoModelForCausalLM.from_pretrained(str(tiny_base), quantization_config=settings, device_map={"": "cuda"}).save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(str(tiny_base)).save_pretrained(tmp_path)
    server = start_server("--dtype", "float32", "--lora", f"lora={adapters['lora']}", model=tmp_path)
    asked = {"model": "lora", "prompt": [9, 40, 77], "max_tokens": 1, "temperature": 0, "logprobs": 5}
    told = server.ask("/v1/completions", asked).json["choices"][0]["logprobs"]["top_logprobs"][0]
    plain = AutoModelForCausalLM.from_pretrained(str(tmp_path), dtype=torch.float32, device_map={"": "cuda"})
    tuned = PeftModel.from_pretrained(plain, str(adapters["lora"])).eval()
    with torch.inference_mode():
        expected = torch.log_softmax(tuned(torch.tensor([[9, 40, 77]], device="cuda")).logits[0, -1].float(), -1).max().item()
    assert max(told.values()) == pytest.approx(expected, abs=1e-3)


def test_adapters_that_come_and_go_leave_no_memory_behind(start_server: Callable[..., Server], adapters: dict[str, Path]) -> None:  # noqa: F811
    server = start_server("--max-loras", "4", "--max-lora-rank", "16")

    def come_and_go() -> None:
        for name in ("lora", "dora", "ia3", "prefix"):
            assert server.load(name, adapters[name]).status == 200
        for name in ("lora", "dora", "ia3", "prefix"):
            asked = {"model": name, "prompt": PROMPT, "max_tokens": 4, "ignore_eos": True}
            assert server.ask("/v1/completions", asked).status == 200
            assert server.unload(name).status == 200

    for _ in range(3):
        come_and_go()
    before, _ = torch.cuda.mem_get_info()
    for _ in range(ROUNDS):
        come_and_go()
    after, _ = torch.cuda.mem_get_info()
    until(lambda: server.metric("vllm:num_requests_running") == 0, "nothing runs")
    assert before - after <= 2 * 2**20, "the allocator's own step"
