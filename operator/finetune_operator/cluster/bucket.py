"""An S3 bucket whose objects nobody can change or delete before their time (object lock), as far as keeping checkpoints needs it.

Five requests, each to the one endpoint that is named: no metadata service, no question for a region, no redirect. What was sent to prove
who asks is in no message, whatever the server says.
"""

import base64
import hashlib
import ssl
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Final
from xml.etree import ElementTree as ET

import aiohttp
from yarl import URL

from finetune_operator.cluster.bucketplace import (
    BucketError,
    BucketPlace,
    KeyTaken,
    Mode,
    NoObjectLock,
    NoSuchBucket,
    ObjectVersion,
    Retention,
    credentials_of,
)
from finetune_operator.cluster.dialling import NoAuthority, plain_session, trust_of
from finetune_operator.cluster.sigv4 import Credentials, Request, signed_headers

TIMEOUT: Final = aiohttp.ClientTimeout(total=20, connect=5)
BODY_LIMIT: Final = 8 * 1024 * 1024
WORDS_LIMIT: Final = 256
"""Characters of a server's own message that are told."""

_UNLOCKED: Final = frozenset({"ObjectLockConfigurationNotFoundError", "NotImplemented", "MethodNotAllowed", "InvalidBucketState"})
_TAKEN: Final = frozenset({"PreconditionFailed", "ConditionalRequestConflict"})


class Bucket:
    """One per process; create it anywhere, use it inside one event loop, and close it. Every method raises `BucketError`."""

    def __init__(
        self,
        place: BucketPlace,
        credentials: Callable[[], Credentials] = credentials_of,
        *,
        timeout: aiohttp.ClientTimeout = TIMEOUT,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.place = place
        self._credentials = credentials
        self._timeout = timeout
        self._now = now
        self._session: aiohttp.ClientSession | None = None

    async def require_lock(self) -> None:
        """Raises `NoObjectLock` where objects can be rewritten, `NoSuchBucket`, `BucketError`."""
        try:
            _, body = await self._ask("GET", "", {"object-lock": ""})
        except _Refused as refused:
            if refused.code in _UNLOCKED:
                raise NoObjectLock(f"bucket {self.place.bucket} has no object lock: {refused}. {_REMEDY}") from None
            raise
        if _text(_document(body), "ObjectLockEnabled") != "Enabled":
            raise NoObjectLock(f"bucket {self.place.bucket} has no object lock. {_REMEDY}")

    async def create(self, key: str, body: bytes, retention: Retention) -> str:
        """A new object under this key, kept as long as said; its version. Raises `KeyTaken` where there is one, `NoObjectLock`."""
        headers = {
            "content-md5": base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode(),  # locked objects need one
            "content-type": "application/json",
            "if-none-match": "*",
            "x-amz-object-lock-mode": retention.mode,
            "x-amz-object-lock-retain-until-date": retention.until.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        }
        try:
            answered, _ = await self._ask("PUT", key, headers=headers, body=body)
        except _Refused as refused:
            if refused.code in _TAKEN or refused.status == 412:
                raise KeyTaken(f"{self.place.bucket}/{key} exists already") from None
            raise
        version = answered.get("x-amz-version-id", "")
        if version in ("", "null"):
            raise NoObjectLock(f"bucket {self.place.bucket} keeps no versions, so that {key} can be overwritten. {_REMEDY}")
        return version

    async def retention(self, key: str, version: str) -> Retention | None:
        """How long this version is kept; None where it is not."""
        try:
            _, body = await self._ask("GET", key, {"retention": "", "versionId": version})
        except _Refused as refused:
            if refused.code in {"NoSuchObjectLockConfiguration", *_UNLOCKED}:
                return None
            raise
        document = _document(body)
        try:
            return Retention(Mode(_text(document, "Mode")), _moment(_text(document, "RetainUntilDate")))
        except ValueError:
            raise BucketError(f"{self.place.bucket} answers about the retention of {key} what cannot be read") from None

    async def read(self, key: str, version: str) -> bytes:
        _, body = await self._ask("GET", key, {"versionId": version})
        return body

    async def versions(self, prefix: str) -> list[ObjectVersion]:
        """All versions of objects whose key begins so, delete markers included: in order of keys, and the oldest of each first."""
        found: list[ObjectVersion] = []
        query = {"versions": "", "prefix": prefix}
        while True:
            document = _document((await self._ask("GET", "", query))[1])
            try:
                found += [_version(element) for element in document if _name(element) in ("Version", "DeleteMarker")]
            except ValueError:
                raise BucketError(f"{self.place.bucket} lists versions that cannot be read") from None
            if _text(document, "IsTruncated") != "true":
                found.reverse()  # of one key and one second the newest was told first
                return sorted(found, key=lambda one: (one.key, one.written))
            before = query
            query = {
                **query,
                "key-marker": _text(document, "NextKeyMarker"),
                "version-id-marker": _text(document, "NextVersionIdMarker"),
            }
            if query == before:
                raise BucketError(f"{self.place.bucket} lists the same versions for ever")

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def _ask(
        self, method: str, key: str, query: Mapping[str, str] | None = None, headers: Mapping[str, str] | None = None, body: bytes = b""
    ) -> tuple[Mapping[str, str], bytes]:
        request = Request(method, self.place.host, self.place.path(key), query or {}, headers or {}, body)
        credentials = self._credentials()
        sent = signed_headers(request, credentials, self.place.region, self._now())
        scheme = self.place.endpoint.partition(":")[0]
        url = URL(f"{scheme}://{request.host}{request.quoted_path}?{request.quoted_query}".rstrip("?"), encoded=True)
        data, window = body or None, self._timeout
        try:
            tls = trust_of(self.place.ca_file)
            async with self._open().request(
                method, url, headers=sent, data=data, ssl=tls, timeout=window, allow_redirects=False
            ) as response:
                answer = await _bounded(response)
                if response.status != 200:
                    raise _refusal(self.place, response.status, answer, credentials)
                return response.headers, answer
        except NoAuthority as error:
            raise BucketError(str(error)) from error
        except (aiohttp.ClientSSLError, ssl.SSLError) as error:
            raise BucketError(f"no trust in the certificate of {self.place.endpoint}: name the authority that signed it") from error
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise BucketError(f"no answer from {self.place.endpoint}: {type(error).__name__}") from error

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = plain_session(limit=2)
        return self._session


_REMEDY: Final = "Name one that was made with object lock: without it whoever writes there can rewrite"


class _Refused(BucketError):
    def __init__(self, message: str, code: str, status: int) -> None:
        super().__init__(message)
        self.code = code
        self.status = status


def _refusal(place: BucketPlace, status: int, body: bytes, credentials: Credentials) -> BucketError:
    """What the server says in its own words, without anything that it was sent to prove who asks."""
    try:
        document = _document(body)
        code, words = _text(document, "Code"), _text(document, "Message")
    except BucketError:
        code, words = "", ""
    for secret in (credentials.secret_access_key, credentials.session_token, credentials.access_key_id):
        code, words = (text.replace(secret, "…") if secret else text for text in (code, words))
    said = f"status {status}" + (f" {code[:64]}" if code else "") + (f": {words[:WORDS_LIMIT].rstrip('.')}" if words else "")
    if code == "NoSuchBucket":
        return NoSuchBucket(f"there is no bucket {place.bucket} at {place.endpoint}")
    if 300 <= status < 400:
        said += "; redirects are not followed: name the endpoint and the region of the bucket"
    return _Refused(said, code, status)


async def _bounded(response: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for chunk in response.content.iter_chunked(65_536):
        body += chunk
        if len(body) > BODY_LIMIT:
            raise BucketError(f"the answer is larger than {BODY_LIMIT} bytes")
    return bytes(body)


def _document(body: bytes) -> ET.Element:
    try:
        return ET.fromstring(body)  # noqa: S314 - bounded, from the server that was named; expat resolves nothing outside
    except ET.ParseError:
        raise BucketError("the answer is not what an S3 server says: is this its endpoint?") from None


def _name(element: ET.Element) -> str:
    """Without the namespace, which servers differ in."""
    return element.tag.rpartition("}")[2]


def _text(document: ET.Element, name: str) -> str:
    return next((element.text or "" for element in document.iter() if _name(element) == name), "")


def _version(element: ET.Element) -> ObjectVersion:
    written = _moment(_text(element, "LastModified"))
    return ObjectVersion(_text(element, "Key"), _text(element, "VersionId"), written, _name(element) == "DeleteMarker")


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
