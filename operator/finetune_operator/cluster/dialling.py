"""How the operator dials what is no API server: the one endpoint that was named, whatever it and the environment say."""

import ssl
from collections.abc import Mapping
from pathlib import Path

import aiohttp


class NoAuthority(Exception):
    """The file of trusted authorities cannot be used; the text says which and why."""


def plain_session(limit: int, headers: Mapping[str, str] | None = None) -> aiohttp.ClientSession:
    """No proxy, no netrc, no cookies, nothing unpacked, no connection kept. ``limit``: connections at once, 0 for any number."""
    return aiohttp.ClientSession(
        trust_env=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        headers={"Accept-Encoding": "identity", **(headers or {})},
        connector=aiohttp.TCPConnector(limit=limit, force_close=True),
    )


def trust_of(ca_file: Path | None) -> ssl.SSLContext | bool:
    """Made for every request: an authority that is renewed counts from the next one on. Raises `NoAuthority`."""
    if ca_file is None:
        return True
    try:
        return ssl.create_default_context(cafile=str(ca_file))
    except (OSError, ssl.SSLError) as error:
        raise NoAuthority(f"{ca_file} holds no certificates in PEM: {type(error).__name__}") from error
