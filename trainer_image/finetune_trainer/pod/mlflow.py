"""An MLflow tracking server, by the calls of its REST API that a run needs; docs/adr/0024 says why not by its own library.

Nothing but the one address is dialled: no proxy, no redirect, no settings from the environment. What comes back is bounded, and believed
only in the shape that is expected. https://mlflow.org/docs/latest/api_reference/rest-api.html
"""

import json
import re
import ssl
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import httpx2

from finetune_trainer.contract import TRACKER_CREDENTIALS_PATH
from finetune_trainer.pod.tracker import Described, Point, Status, TrackedRun, TrackerError

CONNECT_SECONDS, ANSWER_SECONDS = 3.0, 10.0
"""How long a connection, and how long a whole answer is waited for."""
ANSWER_LIMIT = 4 << 20
"""Bytes of an answer; a run with a hundred parameters and thousands of metrics has a tenth of it."""
_CODE = re.compile(r"[A-Z][A-Z_]{2,63}")
_RUN_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_MARK = "finetune.run"
_UNKNOWN_HOST = b"Invalid Host header"
"""From version 3.5 on a server answers by default under addresses of private networks only, and refuses names."""
_NO_SERVER = "what answers is no MLflow server"


class MlflowServer:
    """Every method raises `TrackerError`. ``credentials`` is a folder with some of the files ``TRACKER_CREDENTIALS``, or nothing."""

    def __init__(self, uri: str, credentials: Path = Path(TRACKER_CREDENTIALS_PATH)) -> None:
        self._api = f"{uri.rstrip('/')}/api/2.0/mlflow"
        self._credentials = credentials
        self._client: httpx2.Client | None = None

    def begin(self, described: Described, at: int) -> TrackedRun:
        """The run of an earlier attempt, which goes on, or a new one."""
        try:
            return self._begin(described, at)
        except (AttributeError, KeyError, TypeError, ValueError):
            raise TrackerError(_NO_SERVER) from None

    def _begin(self, described: Described, at: int) -> TrackedRun:
        experiment = self._experiment(described.experiment)
        found = self._ask("runs/search", experiment_ids=[experiment], filter=f"tags.`{_MARK}` = '{described.mark}'", max_results=1)
        runs = found.get("runs") or []
        if runs:
            run = _tracked(runs[0])
            self.mark(run.id, "RUNNING")
            return run
        tags = [*({"key": key, "value": value} for key, value in described.tags.items()), {"key": _MARK, "value": described.mark}]
        made = self._ask("runs/create", experiment_id=experiment, run_name=described.name, start_time=at, tags=tags)
        return _tracked(made.get("run"))

    def log(
        self, run: str, points: Iterable[Point] = (), parameters: Mapping[str, str] | None = None, tags: Mapping[str, str] | None = None
    ) -> None:
        """At most `BATCH` points, and 100 parameters and tags. What is sent twice is there once."""
        self._ask(
            "runs/log-batch",
            run_id=run,
            metrics=[{"key": point.name, "value": point.value, "step": point.step, "timestamp": point.at} for point in points],
            params=[{"key": key, "value": value} for key, value in (parameters or {}).items()],
            tags=[{"key": key, "value": value} for key, value in (tags or {}).items()],
        )

    def mark(self, run: str, status: Status, at: int | None = None) -> None:
        """What has become of it, and when it ended."""
        self._ask("runs/update", run_id=run, status=status, end_time=at)

    def close(self) -> None:
        if self._client is not None:
            self._client.close()

    def _experiment(self, name: str) -> str:
        """Found, or made: whoever may log to an experiment need not have the right to make one."""
        try:
            return self._named(name)
        except _Absent:
            try:
                return str(self._ask("experiments/create", name=name)["experiment_id"])
            except _Exists:  # another run was quicker
                return self._named(name)

    def _named(self, name: str) -> str:
        found = self._ask("experiments/get-by-name", method="GET", experiment_name=name)["experiment"]
        if found.get("lifecycle_stage") == "deleted":
            raise TrackerError("the experiment was deleted there: restore it, or name another one")
        return str(found["experiment_id"])

    def _ask(self, call: str, *, method: str = "POST", **body: Any) -> dict[str, Any]:
        plain = method == "GET"
        said = {name: value for name, value in body.items() if value is not None}
        until = time.monotonic() + ANSWER_SECONDS
        try:
            with self._connected().stream(
                method, f"{self._api}/{call}", params=said if plain else None, json=None if plain else said
            ) as answer:
                content = _bounded(answer, until)
                status = answer.status_code
        except httpx2.TimeoutException:
            raise TrackerError("no answer in time") from None
        except httpx2.HTTPError as error:
            raise TrackerError(f"no connection: {type(error).__name__}") from None
        except (httpx2.InvalidURL, UnicodeError):
            raise TrackerError("its address cannot be used") from None
        return _read(status, content)

    def _connected(self) -> httpx2.Client:
        if self._client is None:
            try:
                self._client = _client(self._credentials)
            except (OSError, ValueError) as error:
                raise TrackerError(f"its credentials cannot be used: {type(error).__name__}") from None
        return self._client


class _Exists(TrackerError):
    """What was to be made is there."""


class _Absent(TrackerError):
    """What was asked for is not there."""


def _client(credentials: Path) -> httpx2.Client:
    """With the token, or with name and password; with the authorities of the credentials in place of the public ones."""
    files = {path.name: path for path in credentials.glob("[!.]*")} if credentials.is_dir() else {}
    said = {name: files[name].read_text(encoding="utf-8").strip() for name in ("token", "username", "password") if name in files}
    trusted = ssl.create_default_context(cafile=str(files["ca.crt"])) if "ca.crt" in files else True
    return httpx2.Client(
        headers={"Authorization": f"Bearer {said['token']}"} if "token" in said else {},
        auth=(said["username"], said.get("password", "")) if "username" in said and "token" not in said else None,
        timeout=httpx2.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS),
        verify=trusted,
        trust_env=False,
        follow_redirects=False,
    )


def _bounded(answer: httpx2.Response, until: float) -> bytes:
    content = b""
    for part in answer.iter_bytes():
        content += part
        if len(content) > ANSWER_LIMIT:
            raise TrackerError("its answer is too long")
        if time.monotonic() > until:
            raise TrackerError("no answer in time")
    return content


def _read(status: int, content: bytes) -> dict[str, Any]:
    try:
        read = json.loads(content or b"{}")
    except (ValueError, RecursionError):
        read = None
    if status == 200 and isinstance(read, dict):
        return read
    code = str(read.get("error_code") or "") if isinstance(read, dict) else ""
    if code == "RESOURCE_ALREADY_EXISTS":
        raise _Exists("it is there")
    if code == "RESOURCE_DOES_NOT_EXIST":
        raise _Absent(f"it answers HTTP {status} {code}")
    if status == 200 or 300 <= status < 400:
        raise TrackerError(_NO_SERVER if status == 200 else "it sends elsewhere, which is not followed")
    if status == 403 and _UNKNOWN_HOST in content:
        raise TrackerError("it is not told to answer under this host name: its --allowed-hosts must list it (HTTP 403)")
    if status in (401, 403):
        raise TrackerError(f"it does not let us in (HTTP {status})")
    raise TrackerError(f"it answers HTTP {status}" + (f" {code}" if _CODE.fullmatch(code) else ""))


def _tracked(run: Any) -> TrackedRun:
    data, info = ((run.get(part) or {}) if isinstance(run, dict) else {} for part in ("data", "info"))
    name = str(info.get("run_id") or "")
    if not _RUN_ID.fullmatch(name):
        raise TrackerError(_NO_SERVER)
    steps = {str(metric["key"]): int(metric.get("step") or 0) for metric in data.get("metrics") or [] if "key" in metric}
    return TrackedRun(name, frozenset(str(each.get("key")) for each in data.get("params") or []), steps)
