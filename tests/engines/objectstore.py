"""A real S3 server with object lock, over TLS, and what its administrator and an intruder with the operator's credentials do there."""

import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
from yarl import URL

from finetune_operator.cluster.bucket import Bucket
from finetune_operator.cluster.bucketplace import BucketPlace
from finetune_operator.cluster.sigv4 import Credentials, Request, signed_headers
from finetune_testbed import binaries
from tests.engines.certificates import self_signed
from tests.engines.ports import free_port
from tests.engines.processes import until

PROGRAM = binaries.find("versitygw", binaries.cache_root())
MISSING = "versitygw is not built: make tools"
CREDENTIALS = Credentials("AKIATESTTESTTEST", "w0rd/that+nobody=may-see")
ENVIRONMENT = {"AWS_ACCESS_KEY_ID": CREDENTIALS.access_key_id, "AWS_SECRET_ACCESS_KEY": CREDENTIALS.secret_access_key}


@dataclass
class ObjectStore:
    """``ca`` is the authority that signed its certificate; started and stopped at will, on one port."""

    folder: Path
    key: Path
    ca: Path
    port: int
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def endpoint(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    def place(self, bucket: str, prefix: str = "") -> BucketPlace:
        return BucketPlace(self.endpoint, bucket, prefix, ca_file=self.ca)

    def bucket(self, name: str, prefix: str = "") -> Bucket:
        return Bucket(self.place(name, prefix), lambda: CREDENTIALS)

    def secret(self, folder: Path) -> Path:
        """The credentials as a mounted Secret has them."""
        folder.mkdir()
        (folder / "access-key-id").write_text(CREDENTIALS.access_key_id + "\n")
        (folder / "secret-access-key").write_text(CREDENTIALS.secret_access_key + "\n")
        return folder

    async def make(self, name: str, *, locked: bool = True) -> None:
        status, text = await self.ask("PUT", f"/{name}", headers={"x-amz-bucket-object-lock-enabled": "true"} if locked else {})
        assert status == 200, text

    async def ask(
        self, method: str, path: str, query: Mapping[str, str] | None = None, headers: Mapping[str, str] | None = None, body: bytes = b""
    ) -> tuple[int, str]:
        """Any request with the operator's credentials, as another program than the operator would send it."""
        request = Request(method, urlsplit(self.endpoint).netloc, path, query or {}, headers or {}, body)
        url = URL(f"{self.endpoint}{request.quoted_path}?{request.quoted_query}", encoded=True)
        sent = signed_headers(request, CREDENTIALS, "us-east-1", datetime.now(UTC))
        async with aiohttp.ClientSession() as session, session.request(method, url, headers=sent, data=body or None, ssl=False) as answer:
            return answer.status, await answer.text()

    def start(self) -> None:
        assert PROGRAM is not None
        data = [self.folder / name for name in ("data", "versions", "metadata")]
        for each in data:
            each.mkdir(exist_ok=True)
        command = [str(PROGRAM), "--port", f"127.0.0.1:{self.port}", "--cert", str(self.ca), "--key", str(self.key)]
        command += ["posix", "--versioning-dir", str(data[1]), "--sidecar", str(data[2]), str(data[0])]
        environment = {**os.environ, "ROOT_ACCESS_KEY": CREDENTIALS.access_key_id, "ROOT_SECRET_KEY": CREDENTIALS.secret_access_key}
        log = self.folder / "log"
        with log.open("wb") as stream:
            self.process = subprocess.Popen(command, stdout=stream, stderr=stream, env=environment)
        until(lambda: self._listening(log))

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    @contextmanager
    def away(self) -> Iterator[None]:
        """Nobody answers at its port."""
        self.stop()
        try:
            yield
        finally:
            self.start()

    def _listening(self, log: Path) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, log.read_text()
        return _listens(self.process.pid)


def _listens(pid: int) -> bool:
    """Whether a process listens on IPv4 by now."""
    inodes = set()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        try:
            target = link.readlink()
        except OSError:
            continue
        inodes |= set(re.findall(r"socket:\[(\d+)\]", str(target)))
    table = [line.split() for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]]
    return any(columns[3] == "0A" and columns[9] in inodes for columns in table)


@contextmanager
def object_store(folder: Path) -> Iterator[ObjectStore]:
    folder.mkdir()
    made = ObjectStore(folder, *self_signed(folder, "objects"), free_port())
    made.start()
    try:
        yield made
    finally:
        made.stop()
