"""Users of the served adapter: streams at a fixed rate through the official OpenAI client, and a log of what came of each.

They reach the router as somebody outside the cluster does, through `kubectl port-forward`.
"""

import asyncio
import json
import queue
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import httpx2
from openai import AsyncOpenAI, OpenAI, OpenAIError

from demo.beside import beside
from demo.kubectl import Kubectl, KubectlError

SERVICE = "service/finetune-router"
PORT = 8000
KEY = "none"  # the example's namespace has no keys: everybody who reaches the router may ask
FORWARDED_SECONDS = 30.0
ANSWER_TOKENS = 40
VERSION_HEADER = "x-adapter-version"
CALLERS = 200
"""A caller stays with a version, so that five percent of the requests are those of ten callers."""

Message = dict[str, str]


@dataclass(frozen=True)
class Request:
    """One request: when it began, in seconds since the epoch, who asked, which version answered, and why it failed, or nothing."""

    began: float
    caller: str
    version: str = ""
    failure: str = ""
    first_seconds: float = 0.0
    seconds: float = 0.0


@dataclass
class Traffic:
    """``questions`` are asked in turn, ``rate`` of them a second, however long answers take."""

    url: str
    model: str
    rate: float
    questions: Sequence[list[Message]]
    requests: list[Request] = field(default_factory=list)

    def failures(self) -> list[Request]:
        return [request for request in self.requests if request.failure]

    def versions(self) -> Counter[str]:
        """Requests by the version that answered."""
        return Counter(request.version for request in self.requests if not request.failure)

    def write(self, path: Path) -> None:
        """The log: a line for each request, no text of anybody's."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(asdict(request)) + "\n" for request in self.requests), encoding="utf-8")

    @contextmanager
    def flowing(self) -> Iterator["Traffic"]:
        """Requests begin until the block ends; then the open ones are waited for."""
        with beside(lambda end: asyncio.run(self._flow(end)), "traffic"):
            yield self

    async def _flow(self, end: threading.Event) -> None:
        asked: list[asyncio.Task[None]] = []
        begun = time.monotonic()
        async with AsyncOpenAI(base_url=f"{self.url}/v1", api_key=KEY, max_retries=0, timeout=120) as client:
            while not end.is_set():
                asked.append(asyncio.create_task(self._ask(client, len(asked))))
                await asyncio.sleep(max(0.0, begun + len(asked) / self.rate - time.monotonic()))
            await asyncio.gather(*asked)

    async def _ask(self, client: AsyncOpenAI, number: int) -> None:
        began, started = time.time(), time.monotonic()
        caller = f"caller-{number % CALLERS}"
        version, failure, first = "", "", 0.0
        try:
            answer = await client.chat.completions.with_raw_response.create(
                **question(self.model, self.questions[number % len(self.questions)]), user=caller, stream=True
            )
            version = answer.headers.get(VERSION_HEADER, "")
            finished = False
            async for chunk in answer.parse():
                first = first or time.monotonic() - started
                finished = finished or any(choice.finish_reason for choice in chunk.choices)
            failure = "" if finished else "the stream has no end"
        except (OpenAIError, httpx2.HTTPError) as error:  # what breaks in the middle of a stream comes as the transport's own
            failure = f"{type(error).__name__}: {str(error)[:120]}"
        self.requests.append(Request(began, caller, version, failure, first, time.monotonic() - started))


def question(model: str, messages: list[Message]) -> dict[str, Any]:
    """What every request of the demo says."""
    return {"model": model, "messages": messages, "max_tokens": ANSWER_TOKENS, "temperature": 0}


def answer(url: str, model: str, messages: list[Message]) -> Iterator[str]:
    """One answer, piece by piece as it is made."""
    with OpenAI(base_url=f"{url}/v1", api_key=KEY, timeout=120) as client:
        for chunk in client.chat.completions.create(**question(model, messages), stream=True):
            for choice in chunk.choices:
                yield choice.delta.content or ""


@contextmanager
def forwarded(kubectl: Kubectl, namespace: str) -> Iterator[str]:
    """The router's address on this machine; raises `KubectlError` when kubectl opens no way to it."""
    arguments = ("port-forward", "-n", namespace, SERVICE, f":{PORT}")
    kubectl.show_command(*arguments)
    with subprocess.Popen(kubectl.command(*arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:  # noqa: S603
        try:
            yield _address(process)
        finally:
            process.terminate()


def _address(process: subprocess.Popen[str]) -> str:
    """From the first line kubectl prints; what it prints later, a line per connection, is read and dropped."""
    lines: queue.Queue[str] = queue.Queue()

    def read() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            lines.put(line)
        lines.put("")

    threading.Thread(target=read, daemon=True).start()
    try:
        line = lines.get(timeout=FORWARDED_SECONDS)
    except queue.Empty:
        line = ""
    if not line.startswith("Forwarding from "):
        process.terminate()
        said = process.stderr.read().strip() if process.stderr is not None else ""
        raise KubectlError(f"kubectl port-forward {SERVICE}: {said or f'no way opened within {FORWARDED_SECONDS:.0f} s'}")
    return f"http://{line.removeprefix('Forwarding from ').partition(' ')[0]}"
