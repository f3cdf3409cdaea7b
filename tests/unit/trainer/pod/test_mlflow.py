"""What is said to an MLflow server and what is believed of its answers: a server on a socket that answers as it is told."""

import base64
import json
import shutil
import ssl
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partialmethod
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from finetune_trainer.pod import mlflow
from finetune_trainer.pod.mlflow import MlflowServer
from finetune_trainer.pod.tracker import Described, Point, TrackerError

ABOUT = Described("ns/tickets", "tickets-1", "u/k", {"finetune.job": "tickets"})
ABSENT = (404, {"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "no experiment of somebody"})
EXISTS = (400, {"error_code": "RESOURCE_ALREADY_EXISTS", "message": "experiment of somebody"})


class Answering(ThreadingHTTPServer):
    """``answers`` by call, each a status and a document, or bytes as they are, or a list of such; what was asked is kept."""

    daemon_threads = True
    answers: dict[str, Any]
    asked: list[tuple[str, dict[str, Any]]]
    headers: list[dict[str, str]]

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    server: Answering

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        call = self.path.partition("?")[0].removeprefix("/api/2.0/mlflow/")
        self.server.asked.append((call, json.loads(body or b"{}")))
        self.server.headers.append(dict(self.headers))
        answers = self.server.answers[call]
        status, answer = answers.pop(0) if isinstance(answers, list) else answers
        content = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.send_response(status)
        if 300 <= status < 400:
            self.send_header("Location", f"{self.server.uri}/elsewhere")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST  # noqa: N815 - the base class's name

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Nobody reads it."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Answering]:
    monkeypatch.setattr(ThreadingHTTPServer, "serve_forever", partialmethod(ThreadingHTTPServer.serve_forever, 0.01))
    made = Answering(("127.0.0.1", 0), Handler)
    made.answers = {
        "experiments/get-by-name": ABSENT,
        "experiments/create": (200, {"experiment_id": "7"}),
        "runs/search": (200, {}),
        "runs/create": (200, {"run": {"info": {"run_id": "5f2a"}}}),
        "runs/log-batch": (200, {}),
        "runs/update": (200, {}),
    }
    made.asked, made.headers = [], []
    threading.Thread(target=made.serve_forever, daemon=True).start()
    yield made
    made.shutdown()
    made.server_close()


def begin(server: Answering, credentials: Path = Path("/nowhere")) -> mlflow.TrackedRun:
    return MlflowServer(server.uri, credentials).begin(ABOUT, 7)


def test_a_new_run_is_made_with_its_mark(server: Answering) -> None:
    assert begin(server).id == "5f2a"
    assert [call for call, _ in server.asked] == ["experiments/get-by-name", "experiments/create", "runs/search", "runs/create"]
    made = server.asked[-1][1]
    assert made["tags"] == [{"key": "finetune.job", "value": "tickets"}, {"key": "finetune.run", "value": "u/k"}]
    assert "Authorization" not in server.headers[0]


def test_the_run_of_an_earlier_attempt_goes_on(server: Answering) -> None:
    data = {"metrics": [{"key": "train/loss", "step": 9}], "params": [{"key": "seed", "value": "42"}]}
    server.answers |= {
        "experiments/get-by-name": (200, {"experiment": {"experiment_id": "7", "lifecycle_stage": "active"}}),
        "runs/search": (200, {"runs": [{"info": {"run_id": "01ab"}, "data": data}]}),
    }
    found = begin(server)
    assert (found.id, found.parameters, found.steps) == ("01ab", {"seed"}, {"train/loss": 9})
    assert [call for call, _ in server.asked] == ["experiments/get-by-name", "runs/search", "runs/update"]
    assert server.asked[-1][1] == {"run_id": "01ab", "status": "RUNNING"}


def test_an_experiment_that_another_run_makes_in_the_same_moment_is_shared(server: Answering) -> None:
    found = (200, {"experiment": {"experiment_id": "7", "lifecycle_stage": "active"}})
    server.answers |= {"experiments/get-by-name": [ABSENT, found], "experiments/create": EXISTS}
    assert begin(server).id == "5f2a"
    assert server.asked[-1][1]["experiment_id"] == "7"


def test_points_and_settings_are_sent_as_the_server_wants_them(server: Answering) -> None:
    MlflowServer(f"{server.uri}/").log("5f2a", (Point("train/loss", 0.5, 3, 9000),), {"seed": "42"}, {"a": "b"})
    assert server.asked == [
        (
            "runs/log-batch",
            {
                "run_id": "5f2a",
                "metrics": [{"key": "train/loss", "value": 0.5, "step": 3, "timestamp": 9000}],
                "params": [{"key": "seed", "value": "42"}],
                "tags": [{"key": "a", "value": "b"}],
            },
        )
    ]


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"token": "s3cret\n"}, "Bearer s3cret"),
        ({"username": "ann", "password": "s3cret"}, f"Basic {base64.b64encode(b'ann:s3cret').decode()}"),
        ({"..data": "x"}, None),
    ],
    ids=["token", "password", "neither"],
)
def test_credentials_come_from_files(server: Answering, tmp_path: Path, files: dict[str, str], expected: str | None) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    begin(server, tmp_path)
    assert server.headers[0].get("Authorization") == expected


def test_a_certificate_is_checked_by_the_authorities_of_the_credentials(server: Answering, tmp_path: Path) -> None:
    (tmp_path / "server.pem").write_bytes(certificate())
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tmp_path / "server.pem")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    uri, trusting = server.uri.replace("http:", "https:"), tmp_path / "trusting"
    trusting.mkdir()
    shutil.copy(tmp_path / "server.pem", trusting / "ca.crt")
    with pytest.raises(TrackerError, match=r"^no connection: ConnectError$"):
        MlflowServer(uri, Path("/nowhere")).begin(ABOUT, 7)
    assert MlflowServer(uri, trusting).begin(ABOUT, 7).id == "5f2a"


def certificate() -> bytes:
    """Key and certificate of 127.0.0.1, signed by nobody else."""
    key, name, now = (
        ec.generate_private_key(ec.SECP256R1()),
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "mlflow")]),
        datetime.now(UTC),
    )
    made = x509.CertificateBuilder(
        name, name, key.public_key(), x509.random_serial_number(), now - timedelta(days=1), now + timedelta(days=1)
    )
    made = made.add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
    made = made.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return private + made.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)


def test_authorities_that_are_none_are_told_and_not_quoted(server: Answering, tmp_path: Path) -> None:
    (tmp_path / "ca.crt").write_text("s3cret")
    with pytest.raises(TrackerError, match=r"^its credentials cannot be used: SSLError$"):
        begin(server, tmp_path)


ODD: list[tuple[str, Any, str]] = [
    ("a redirect", (302, b""), "it sends elsewhere, which is not followed"),
    ("under another name", (403, b"Invalid Host header - possible DNS rebinding"), r"it is not told to .* its --allowed-hosts .*403\)"),
    ("nobody may in", (401, b"<html>log in, ann</html>"), r"it does not let us in \(HTTP 401\)"),
    ("a refusal", (400, {"error_code": "INVALID_PARAMETER_VALUE", "message": "s3cret"}), "it answers HTTP 400 INVALID_PARAMETER_VALUE"),
    ("a code that is none", (500, {"error_code": "s3cret"}), "it answers HTTP 500"),
    ("another service", (200, b"<html>welcome</html>"), "what answers is no MLflow server"),
    ("a list", (200, b"[]"), "what answers is no MLflow server"),
    ("an endless answer", (200, b"[" * (mlflow.ANSWER_LIMIT + 1)), "its answer is too long"),
    ("a document without end", (200, b"[" * 100_000), "what answers is no MLflow server"),
]


@pytest.mark.parametrize(("answer", "told"), [case[1:] for case in ODD], ids=[case[0] for case in ODD])
def test_an_odd_answer_is_told_in_words_of_ours(server: Answering, answer: Any, told: str) -> None:
    server.answers["experiments/get-by-name"] = answer
    with pytest.raises(TrackerError, match=f"^{told}$"):
        begin(server)
    assert len(server.asked) == 1


def test_an_address_that_no_name_can_be_is_told(server: Answering) -> None:
    with pytest.raises(TrackerError, match=r"^its address cannot be used$|^no connection: "):
        MlflowServer(f"http://{'a' * 70}.test", Path("/nowhere")).begin(ABOUT, 7)
    assert server.asked == []


@pytest.mark.parametrize(
    "run", [{}, None, {"info": {"run_id": "../x"}}, {"info": [1]}, [], {"info": {"run_id": "a"}, "data": {"metrics": [1]}}]
)
def test_a_run_without_a_name_is_none(server: Answering, run: Any) -> None:
    server.answers["runs/create"] = (200, {"run": run})
    with pytest.raises(TrackerError, match="no MLflow server"):
        begin(server)


def test_a_deleted_experiment_is_not_logged_to(server: Answering) -> None:
    server.answers["experiments/get-by-name"] = (200, {"experiment": {"experiment_id": "7", "lifecycle_stage": "deleted"}})
    with pytest.raises(TrackerError, match="was deleted there"):
        begin(server)


def test_settings_of_the_environment_send_it_nowhere_else(server: Answering, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "MLFLOW_TRACKING_URI"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert begin(server).id == "5f2a"
