"""A base model of a hub, fetched by the real client from a server that speaks the few calls it makes."""

import asyncio
import hashlib
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from aiohttp import web

COMMIT = "c0ffee" + "0" * 34


@dataclass
class Hub:
    """One model at one commit, behind a token for its name ``org/gated``."""

    folder: Path
    requests: list[str] = field(default_factory=list)
    port: int = 0
    broken: bool = False
    answers: int | None = None
    """So many requests are answered before the hub breaks."""
    torn: bool = False
    """Connections end in the middle of a file's bytes."""
    short: bool = False
    """Files come with fewer bytes than were announced."""
    commit: str = COMMIT

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def application(self) -> web.Application:
        application = web.Application()
        application.router.add_get("/api/models/{org}/{name}/revision/{revision}", self._model)
        application.router.add_get("/api/models/{org}/{name}/tree/{revision}", self._tree)
        application.router.add_get("/{org}/{name}/resolve/{revision}/{path:.*}", self._file)
        return application

    def _refusal(self, request: web.Request) -> web.Response | None:
        self.requests.append(request.path)
        if self.broken:
            return web.Response(status=503)
        if self.answers is not None and len(self.requests) > self.answers:
            return web.Response(status=501)  # unlike 503 none that the client waits out
        name, revision = request.match_info["name"], request.match_info["revision"]
        if name == "gated" and request.headers.get("Authorization") != "Bearer hf_secret":
            return web.Response(status=401, headers={"X-Error-Code": "GatedRepo", "X-Error-Message": "gated"})
        if name not in ("tiny", "gated"):
            return web.Response(status=401, headers={"X-Error-Code": "RepoNotFound"})
        if revision not in ("main", self.commit):
            return web.Response(status=404, headers={"X-Error-Code": "RevisionNotFound"})
        return None

    async def _model(self, request: web.Request) -> web.Response:
        files = [{"rfilename": path.name} for path in sorted(self.folder.iterdir())]
        return self._refusal(request) or web.json_response({"id": "org/tiny", "modelId": "org/tiny", "sha": self.commit, "siblings": files})

    async def _tree(self, request: web.Request) -> web.Response:
        entries = [
            {"type": "file", "path": path.name, "size": path.stat().st_size, "oid": _etag(path)} for path in sorted(self.folder.iterdir())
        ]
        return self._refusal(request) or web.json_response(entries)

    async def _file(self, request: web.Request) -> web.StreamResponse:
        path = self.folder / request.match_info["path"]
        refusal = self._refusal(request)
        if refusal is not None:
            return refusal
        if not path.is_file():
            return web.Response(status=404, headers={"X-Error-Code": "EntryNotFound", "X-Repo-Commit": self.commit})
        headers = {"ETag": f'"{_etag(path)}"', "X-Repo-Commit": self.commit}
        if request.method == "GET" and path.suffix == ".safetensors" and (self.torn or self.short):
            return await self._half(request, path.read_bytes(), headers)
        return web.FileResponse(path, headers=headers)

    async def _half(self, request: web.Request, content: bytes, headers: dict[str, str]) -> web.StreamResponse:
        half = content[: len(content) // 2]
        if self.short:
            return web.Response(body=half, headers=headers)
        response = web.StreamResponse(headers={**headers, "Content-Length": str(len(content))})
        await response.prepare(request)
        await response.write(half)
        assert request.transport is not None
        request.transport.close()
        return response


def _etag(path: Path) -> str:
    return hashlib.sha1(path.read_bytes()).hexdigest()


@pytest.fixture
def hub(tiny_base: Path, tmp_path: Path) -> Iterator[Hub]:
    folder = tmp_path / "remote"
    folder.mkdir()
    for path in tiny_base.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    (folder / "pytorch_model.bin").write_bytes(b"a pickle")
    (folder / "modeling_tiny.py").write_text("raise SystemExit('code that must never be fetched')")
    served = Hub(folder)
    loop = asyncio.new_event_loop()
    runner = web.AppRunner(served.application())
    loop.run_until_complete(runner.setup())
    site = web.TCPSite(runner, "127.0.0.1", 0)
    loop.run_until_complete(site.start())
    served.port = runner.addresses[0][1]
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    yield served
    asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(10)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(10)
    loop.close()


PROGRAM = """
import sys
from pathlib import Path
from finetune_trainer.data.hub import fetch_base_model
from finetune_trainer.pod.errors import StepError
try:
    fetch_base_model(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
except StepError as error:
    print(f"{int(error.exit_code)} {error.reason}: {error.message} | {error.hint}")
"""


def fetch(hub: Hub, uri: str, folder: Path) -> str:
    """Fetch in a process of its own, since the client reads its settings once; the error's words, or nothing."""
    environment = {
        **os.environ,
        "HF_ENDPOINT": hub.endpoint,
        "HF_HUB_OFFLINE": "0",
        "HF_HOME": str(folder.parent / "hf"),
        "NO_PROXY": "127.0.0.1",
    }
    command = [sys.executable, "-c", PROGRAM, uri, str(folder), str(folder.parent / "credentials")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_weights_and_tokenizer_are_fetched_and_neither_pickles_nor_code(hub: Hub, tmp_path: Path) -> None:
    assert fetch(hub, "hf://org/tiny@main", tmp_path / "base") == ""
    fetched = {path.name for path in (tmp_path / "base").iterdir() if not path.name.startswith(".")}
    assert {"model.safetensors", "config.json", "tokenizer.json", "chat_template.jinja", "README.md"} <= fetched
    assert not fetched & {"pytorch_model.bin", "modeling_tiny.py"}
    assert (tmp_path / "base" / "model.safetensors").read_bytes() == (hub.folder / "model.safetensors").read_bytes()
    assert not [path for path in hub.requests if path.endswith((".bin", ".py"))]


def test_a_complete_fetch_is_not_repeated(hub: Hub, tmp_path: Path) -> None:
    fetch(hub, "hf://org/tiny@main", tmp_path / "base")
    asked = len(hub.requests)
    assert fetch(hub, "hf://org/tiny@main", tmp_path / "base") == ""
    assert len(hub.requests) == asked


def test_a_gated_model_needs_the_token_of_the_secret(hub: Hub, tmp_path: Path) -> None:
    refused = fetch(hub, f"hf://org/gated@{COMMIT}", tmp_path / "base")
    assert refused.startswith("66 AccessDenied")
    assert "credentialsSecretRef" in refused
    (tmp_path / "credentials").mkdir()
    (tmp_path / "credentials" / "token").write_text("hf_secret\n")
    assert fetch(hub, f"hf://org/gated@{COMMIT}", tmp_path / "base") == ""
    assert json.loads((tmp_path / "base" / "config.json").read_text())["model_type"] == "llama"


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("hf://org/unknown@main", "66 BaseModelMissing"),
        ("hf://org/tiny@v9", "66 RevisionMissing: baseModel: org/tiny has no revision v9"),
        ("hf://org/tiny", "64 InvalidUri"),
        ("s3://bucket/model", "64 InvalidUri"),
    ],
)
def test_what_cannot_be_fetched_says_why(uri: str, words: str, hub: Hub, tmp_path: Path) -> None:
    assert fetch(hub, uri, tmp_path / "base").startswith(words)


def test_a_hub_out_of_order_is_worth_another_try(hub: Hub, tmp_path: Path) -> None:
    hub.broken = True
    assert fetch(hub, "hf://org/tiny@main", tmp_path / "base").startswith("74 HubUnreachable")


@pytest.fixture
def partial(hub: Hub, tmp_path: Path) -> Path:
    """A folder that holds a small file and not the weights."""
    folder = tmp_path / "base"
    folder.mkdir()
    (folder / "config.json").write_bytes((hub.folder / "config.json").read_bytes())
    return folder


@pytest.fixture
def interrupted(hub: Hub, tmp_path: Path) -> Path:
    """A folder in which a fetch ended in the middle of the weights."""
    hub.torn = True
    assert fetch(hub, "hf://org/tiny@main", tmp_path / "base").startswith("74 HubUnreachable")
    hub.torn = False
    assert (tmp_path / "base" / "config.json").is_file()
    assert not (tmp_path / "base" / "model.safetensors").exists()
    return tmp_path / "base"


def test_a_connection_that_ends_in_the_middle_of_a_file_is_worth_another_try(interrupted: Path, hub: Hub) -> None:
    assert fetch(hub, "hf://org/tiny@main", interrupted) == ""
    assert (interrupted / "model.safetensors").read_bytes() == (hub.folder / "model.safetensors").read_bytes()


def test_a_file_of_another_size_than_announced_is_worth_another_try(hub: Hub, tmp_path: Path) -> None:
    hub.short = True
    assert fetch(hub, "hf://org/tiny@main", tmp_path / "base").startswith("74 HubUnreachable")
    assert not (tmp_path / "base" / ".fetched").exists()


@pytest.mark.parametrize("answers", [0, 1, 2, 3])
def test_half_a_fetch_is_never_taken_for_a_whole_one_when_the_hub_fails(answers: int, partial: Path, hub: Hub) -> None:
    """The hub breaks at each of the requests for commit and list of files."""
    hub.answers = len(hub.requests) + answers
    assert fetch(hub, "hf://org/tiny@main", partial).startswith(("74 HubUnreachable", "74 FetchIncomplete"))
    hub.answers = None
    assert fetch(hub, "hf://org/tiny@main", partial) == ""
    assert (partial / "model.safetensors").is_file()


def test_half_a_fetch_is_never_taken_for_a_whole_one_when_no_hub_answers(partial: Path, hub: Hub) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # bound and not listening: whoever connects is refused
        hub.port, served = nobody.getsockname()[1], hub.port
        assert fetch(hub, "hf://org/tiny@main", partial).startswith("74 HubUnreachable")
    hub.port = served
    assert fetch(hub, "hf://org/tiny@main", partial) == ""
    assert (partial / "model.safetensors").is_file()


def test_a_file_that_a_lost_node_cut_short_is_fetched_again(interrupted: Path, hub: Hub) -> None:
    (interrupted / "tokenizer.json").write_bytes(b"")
    for _ in range(2):
        words = fetch(hub, "hf://org/tiny@main", interrupted)
        if not words:
            break
        assert words.startswith("74 FetchIncomplete")
    assert (interrupted / ".fetched").is_file()
    assert (interrupted / "tokenizer.json").read_bytes() == (hub.folder / "tokenizer.json").read_bytes()


def test_what_is_left_of_another_commit_is_not_mixed_in(interrupted: Path, hub: Hub) -> None:
    hub.commit = "beef" + "0" * 36
    (hub.folder / "README.md").unlink()
    assert fetch(hub, "hf://org/tiny@main", interrupted) == ""
    assert (interrupted / "model.safetensors").is_file()
    assert not (interrupted / "README.md").exists()
