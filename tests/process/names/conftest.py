"""One pipeline for all tests of names: it takes some seconds to learn."""

from pathlib import Path

import pytest

from tests.process.names import site_model
from tests.unit.trainer.conftest import step_context  # noqa: F401 - a fixture


@pytest.fixture(scope="session")
def site_names(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return site_model.write(tmp_path_factory.mktemp("names") / "site-names")
