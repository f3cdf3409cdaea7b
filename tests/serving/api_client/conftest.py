"""A certificate for all tests, a token for each."""

from pathlib import Path

import pytest

from tests.serving.api_client import odd_server


@pytest.fixture(scope="session")
def crt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return odd_server.certificate(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text("secret-1\n")
    return path
