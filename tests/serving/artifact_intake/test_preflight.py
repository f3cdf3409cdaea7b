"""The question of the preflight step, asked on the command line as the operator's Job asks it."""

import json
from pathlib import Path

import pytest

from finetune_inference.cli.main import main
from finetune_inference.contract import Finding, PreflightResult
from tests.engines.artifacts import BASE_CONFIG, BASE_DIGEST, AdapterFiles, Published, publish


@pytest.fixture
def base(tmp_path: Path) -> Path:
    folder = tmp_path / "base"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(BASE_CONFIG), encoding="utf-8")
    return folder


def preflight(tmp_path: Path, base: Path, artifact: Published, *more: str) -> tuple[int, PreflightResult]:
    result = tmp_path / "result.json"
    asked = ["--uri", artifact.uri, "--digest", artifact.digest, "--claim", f"adapters={tmp_path / 'volume'}"]
    served = ["--base-model", str(base), "--base-digest", BASE_DIGEST]
    code = main(["preflight", *asked, *served, "--scratch", str(tmp_path), "--result", str(result), *more])
    return code, PreflightResult.from_json(result.read_bytes())


def test_a_good_artifact_passes_and_leaves_no_copy(tmp_path: Path, base: Path) -> None:
    artifact = publish(AdapterFiles(), tmp_path / "volume")
    assert preflight(tmp_path, base, artifact) == (0, PreflightResult(digest=artifact.digest, compatible=True))
    assert {path.name for path in tmp_path.iterdir()} == {"base", "result.json", "volume"}


def test_a_bad_one_is_refused_with_every_finding(tmp_path: Path, base: Path) -> None:
    artifact = publish(AdapterFiles(rank=16, config={"use_dora": True}), tmp_path / "volume")
    code, result = preflight(tmp_path, base, artifact, "--max-lora-rank", "8")
    assert code == 3
    assert [finding.reason for finding in result.findings] == ["RankTooHigh", "DoraUnsupported"]


def test_the_same_one_is_served_by_our_own_engine(tmp_path: Path, base: Path) -> None:
    artifact = publish(AdapterFiles(rank=16, config={"use_dora": True}), tmp_path / "volume")
    assert preflight(tmp_path, base, artifact, "--engine", "Transformers")[0] == 0


def test_a_changed_file_is_refused_by_digest(tmp_path: Path, base: Path) -> None:
    artifact = publish(AdapterFiles(), tmp_path / "volume")
    (artifact.folder / "finetune.json").write_text("{}", encoding="utf-8")
    code, result = preflight(tmp_path, base, artifact)
    assert (code, [finding.reason for finding in result.findings]) == (3, ["DigestMismatch"])


def test_a_volume_that_cannot_be_read_is_no_verdict(tmp_path: Path, base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    artifact = publish(AdapterFiles(), tmp_path / "volume")
    (tmp_path / "volume").rename(tmp_path / "away")
    code = main(["preflight", "--uri", artifact.uri, "--digest", artifact.digest, "--claim", f"adapters={tmp_path / 'volume'}"])
    assert (code, capsys.readouterr().out) == (1, "")


def test_an_artifact_that_is_not_there_yet_is_no_verdict_and_the_log_says_so(
    tmp_path: Path, base: Path, caplog: pytest.LogCaptureFixture
) -> None:
    artifact = publish(AdapterFiles(), tmp_path / "volume")
    artifact.folder.rename(tmp_path / "elsewhere")
    given = ["--uri", artifact.uri, "--digest", artifact.digest, "--claim", f"adapters={tmp_path / 'volume'}"]
    assert main(["preflight", *given, "--result", str(tmp_path / "result.json")]) == 1
    assert caplog.messages[-1].startswith("ArtifactMissing: uri: no ")
    assert not (tmp_path / "result.json").exists()


def test_a_result_fits_a_termination_message_and_counts_what_did_not() -> None:
    findings = tuple(Finding(field="f" * 160, reason="R", message="m" * 512, way_out="w" * 512) for _ in range(16))
    result = PreflightResult.of("sha256:" + "0" * 64, findings, 4096)
    assert len(result.to_json().encode()) <= 4096
    assert result.findings
    assert len(result.findings) + result.left_out == 16
    assert result.compatible is False
