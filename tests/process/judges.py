"""A judge for tests: a real HTTP server of the shape of OpenAI's chat completions, whose verdicts a test writes."""

import json
import re
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

_SHOWN = re.compile(r"<request>\n(.*)\n</request>\n\n<answer-a>\n(.*)\n</answer-a>\n\n<answer-b>\n(.*)\n</answer-b>", re.DOTALL)
Opinion = Callable[[str, str, str], str]
"""From request, answer A and answer B to the text of the reply."""


@dataclass
class ScriptedJudge:
    """``failures`` are the status codes of the next requests, ``always`` that of every one; ``body`` replaces every answer.

    ``gate`` is waited for before each answer.
    """

    opinion: Opinion
    failures: list[int] = field(default_factory=list)
    always: int = 0
    body: bytes | None = None
    certificate: Path | None = None
    gate: threading.Event = field(default_factory=threading.Event)
    asked: list[dict[str, Any]] = field(default_factory=list)
    tokens: set[str | None] = field(default_factory=set)
    most_at_once: int = 0
    endpoint: str = ""
    port: int = 0
    _now: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def answer(self, path: str, token: str | None, body: bytes) -> tuple[int, bytes]:
        with self._lock:
            self._now += 1
            self.most_at_once = max(self.most_at_once, self._now)
            self.tokens.add(token)
            self.asked.append({"path": path, **json.loads(body)})
            failure = self.failures.pop(0) if self.failures else self.always
        self.gate.wait(60)
        with self._lock:
            self._now -= 1
        if failure:
            return failure, json.dumps({"error": {"message": f"cannot answer {body.decode()}"}}).encode()  # as many servers do
        return 200, self.body if self.body is not None else self._reply(json.loads(body))

    def _reply(self, document: dict[str, Any]) -> bytes:
        shown = _SHOWN.search(document["messages"][-1]["content"])
        assert shown is not None
        message = {"role": "assistant", "content": self.opinion(*shown.groups())}
        told = {"model": f"{document['model']}-2026", "system_fingerprint": "fp_1", "choices": [{"index": 0, "message": message}]}
        return json.dumps(told).encode()


@contextmanager
def serving(judge: ScriptedJudge) -> Iterator[ScriptedJudge]:
    """The judge behind a port of its own; its gate is open unless a test closes it."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            status, answer = judge.answer(self.path, self.headers.get("Authorization"), body)
            self.send_response(status)
            self.send_header("Content-Length", str(len(answer)))
            self.send_header("Retry-After", "0")
            if status == 302:
                self.send_header("Location", f"{judge.endpoint}/elsewhere")
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        def handle_error(self, *_: object) -> None:
            """A client that hangs up is what some tests are about."""

    server = Server(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    if judge.certificate is not None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(judge.certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    judge.port = server.server_address[1]
    judge.endpoint = f"{'http' if judge.certificate is None else 'https'}://127.0.0.1:{judge.port}/v1"
    judge.gate.set()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield judge
    finally:
        judge.gate.set()
        server.shutdown()
        thread.join(10)
        server.server_close()
