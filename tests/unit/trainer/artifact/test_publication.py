import errno
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from finetune_trainer.artifact import inspect, is_promotable, publish
from finetune_trainer.artifact import publication as publication_module
from finetune_trainer.cli.publish import execute
from finetune_trainer.contract import EvaluationSummary, PublishSummary, RunSpec, Step, Summary, Verdict
from finetune_trainer.contract.model import BaseModelFindings
from finetune_trainer.data.licences import licence
from finetune_trainer.pod.context import StepContext
from finetune_trainer.pod.errors import ModelError, StorageError
from finetune_trainer.pod.resolved import read_resolved
from finetune_trainer.pod.sealing import seal_result, sealed_result
from finetune_trainer.pod.termination import step_error
from tests.unit.trainer.artifact.conftest import Trained, resolved_run, seal_train

MakeTrained = Callable[..., Trained]


def run(trained: Trained, attempt: int = 1) -> PublishSummary:
    return publish(trained.workspace, trained.spec, destination=trained.destination, attempt=attempt)


def test_the_artifact_lies_under_its_digest_and_what_describes_it_beside(trained: MakeTrained) -> None:
    it = trained()
    summary = run(it)
    assert summary.digest == it.artifact.digest
    assert summary.uri == f"pvc://adapters/tickets/{it.artifact.hex}"
    assert summary.bytes == it.artifact.bytes
    assert sorted(path.name for path in it.destination.iterdir()) == [it.artifact.hex, f"{it.artifact.hex}.meta"]
    assert inspect(it.destination / it.artifact.hex) == it.artifact
    assert sorted(path.name for path in (it.destination / f"{it.artifact.hex}.meta").iterdir()) == [
        "README.md",
        "data-report.json",
        "evaluation-items.jsonl",
        "promotable",
        "record.json",
        "resolved.json",
        "run.json",
        "versions.json",
    ]


def test_what_the_base_models_licence_asks_for_is_in_record_and_card(trained: MakeTrained) -> None:
    it = trained()
    prepared = sealed_result(it.workspace, it.spec, Step.PREPARE)
    assert prepared is not None
    assert prepared.summary.prepare is not None
    llama = licence("llama3.1")
    told = prepared.summary.prepare.model_copy(update={"base_model": BaseModelFindings(licences=(llama,))})
    seal_result(it.workspace, it.spec, Step.PREPARE, Summary(prepare=told))
    (it.workspace.out_meta / "NOTICE").write_text("Llama 3.1 is licensed under …\n", encoding="utf-8")
    run(it)
    meta = it.destination / f"{it.artifact.hex}.meta"
    record = json.loads((meta / "record.json").read_text())
    assert record["licences"] == [{"key": llama.key, "category": "Proprietary Free"}]
    assert record["obligations"][0]["namePrefix"] == "Llama"
    assert "Built with Llama" in (meta / "README.md").read_text()
    assert (meta / "NOTICE").exists()


def test_the_work_folder_is_emptied_but_the_folders_stay(trained: MakeTrained) -> None:
    it = trained()
    run(it)
    assert list(it.workspace.out.iterdir()) == []
    assert list(it.workspace.out_meta.iterdir()) == []


def test_publishing_again_is_success_and_writes_nothing(trained: MakeTrained) -> None:
    it = trained()
    first = run(it)
    before = {path: path.stat().st_mtime_ns for path in it.destination.rglob("*")}
    assert run(it, attempt=2) == first
    assert {path: path.stat().st_mtime_ns for path in it.destination.rglob("*")} == before


@pytest.mark.parametrize("verdict", list(Verdict))
@pytest.mark.parametrize("on_inconclusive", ["Hold", "Fail", "Pass"])
def test_what_a_verdict_means_for_promotion(run_spec: Callable[..., RunSpec], verdict: Verdict, on_inconclusive: str) -> None:
    spec = run_spec(evaluation={"on_inconclusive": on_inconclusive})
    accepted = verdict in {Verdict.PASS, Verdict.NOT_GATED} or (verdict is Verdict.INCONCLUSIVE and on_inconclusive == "Pass")
    assert is_promotable(EvaluationSummary(verdict=verdict, items=1), spec) is accepted


@pytest.mark.parametrize(("verdict", "text"), [(Verdict.PASS, "true\n"), (Verdict.FAIL, "false\n")])
def test_a_refused_artifact_is_published_and_marked(trained: MakeTrained, verdict: Verdict, text: str) -> None:
    it = trained(verdict)
    assert run(it).promotable is (verdict is Verdict.PASS)
    meta = it.destination / f"{it.artifact.hex}.meta"
    assert (meta / "promotable").read_text() == text
    assert json.loads((meta / "record.json").read_text())["promotable"] is (verdict is Verdict.PASS)
    assert f"**{verdict.value}**" in (meta / "README.md").read_text()


def test_other_content_under_the_same_name_is_never_overwritten(trained: MakeTrained) -> None:
    it = trained()
    strange = it.destination / it.artifact.hex
    strange.mkdir(parents=True)
    (strange / "adapter_model.safetensors").write_bytes(b"something else")
    with pytest.raises(StorageError, match="ArtifactNameTaken"):
        run(it)
    assert (strange / "adapter_model.safetensors").read_bytes() == b"something else"
    assert inspect(it.workspace.out) == it.artifact


def test_a_source_that_changed_since_it_was_sealed_is_refused(trained: MakeTrained) -> None:
    it = trained()
    (it.workspace.out / "finetune.json").write_text("{}")
    with pytest.raises(StorageError, match="ArtifactDamaged"):
        run(it)
    assert list(it.destination.glob("*")) == []


def test_a_pickle_that_got_into_the_work_folder_goes_no_further(trained: MakeTrained) -> None:
    it = trained()
    (it.workspace.out / "extra.bin").write_bytes(b"\x80\x04")
    seal_train(it.workspace, it.spec, inspect(it.workspace.out).digest, Verdict.PASS)
    with pytest.raises(ModelError, match=r"extra\.bin"):
        run(it)


def test_without_a_sealed_train_result_there_is_nothing_to_publish(trained: MakeTrained) -> None:
    it = trained()
    it.workspace.result(Step.TRAIN).unlink()
    with pytest.raises(StorageError, match="TrainResultMissing"):
        run(it)


@pytest.mark.parametrize("write", range(1, 12))
def test_an_interruption_at_any_write_leaves_nothing_half_and_the_next_attempt_finishes(
    trained: MakeTrained, monkeypatch: pytest.MonkeyPatch, write: int
) -> None:
    """The volume fills at the n-th file; then there is room again."""
    it = trained()
    count = 0
    copy = shutil.copyfile

    def copy_until_full(source: Path, target: Path) -> Any:
        nonlocal count
        count += 1
        if count == write:
            Path(target).write_bytes(b"half")
            raise OSError(errno.ENOSPC, "No space left on device", str(target))
        return copy(source, target)

    monkeypatch.setattr(publication_module.shutil, "copyfile", copy_until_full)
    copies = len(it.artifact.files) + 3
    if write <= copies:
        with pytest.raises(OSError, match="No space left") as full:
            run(it)
        assert step_error(full.value, it.destination).exit_code == 74
        assert not (it.destination / it.artifact.hex).exists()
    monkeypatch.undo()
    assert run(it, attempt=2).digest == it.artifact.digest
    assert sorted(path.name for path in it.destination.iterdir()) == [it.artifact.hex, f"{it.artifact.hex}.meta"]
    assert inspect(it.destination / it.artifact.hex) == it.artifact


def test_an_interruption_while_cleaning_up_is_finished_by_the_next_attempt(trained: MakeTrained) -> None:
    it = trained()
    first = run(it)
    (it.workspace.out / "left-behind.json").write_text("{}")
    assert run(it, attempt=2) == first
    assert list(it.workspace.out.iterdir()) == []


def test_a_second_run_with_the_same_content_renews_the_description_only(trained: MakeTrained, run_spec: Callable[..., RunSpec]) -> None:
    it = trained()
    run(it)
    artifact_times = {path: path.stat().st_mtime_ns for path in (it.destination / it.artifact.hex).rglob("*")}
    identity = {"key": "c" * 64, "name": "tickets-9876543210", "number": 2, "job_namespace": "ns", "job_name": "tickets", "job_uid": "u"}
    again = trained(Verdict.FAIL, run=identity)
    assert again.artifact.digest == it.artifact.digest
    assert run(again).promotable is False
    assert {path: path.stat().st_mtime_ns for path in (it.destination / it.artifact.hex).rglob("*")} == artifact_times
    record = json.loads((it.destination / f"{it.artifact.hex}.meta" / "record.json").read_text())
    assert (record["runKey"], record["promotable"]) == ("c" * 64, False)


def test_the_record_says_where_everything_comes_from(trained: MakeTrained) -> None:
    it = trained()
    run(it)
    record = json.loads((it.destination / f"{it.artifact.hex}.meta" / "record.json").read_text())
    assert record["artifactDigest"] == it.artifact.digest
    assert [file["name"] for file in record["files"]] == [file.name for file in it.artifact.files]
    assert record["datasetDigest"] == "sha256:" + "d" * 64
    assert record["specDigest"] == it.spec.content_digest()
    assert record["training"]["reloadDifference"] == "2.5e-07"
    assert RunSpec.from_json((it.destination / f"{it.artifact.hex}.meta" / "run.json").read_text()) == it.spec


def test_the_card_says_how_close_the_artifact_came_to_the_trained_model(trained: MakeTrained) -> None:
    it = trained()
    run(it)
    card = (it.destination / f"{it.artifact.hex}.meta" / "README.md").read_text()
    assert "| Loaded again | largest difference of a logit from the trained model: 2.5e-07 |" in card


def test_what_it_was_trained_with_is_published_beside_it_and_told_in_the_card(trained: MakeTrained) -> None:
    it = trained()
    run(it)
    meta = it.destination / f"{it.artifact.hex}.meta"
    assert read_resolved(meta) == resolved_run(it.spec)
    settings = (
        "learning rate 0.0002, cosine after 1 steps of warm-up, 4 steps planned; batch 4 = 2 * 2 * 1 (at once * accumulated * processes)"
    )
    assert f"| Settings | {settings}; adamw_torch, FP32 on cpu, seed 42 |" in (meta / "README.md").read_text()


def test_the_step_seals_where_the_artifact_lies(trained: MakeTrained, step_context: Callable[..., StepContext], tmp_path: Path) -> None:
    it = trained()
    result = execute(step_context(it.spec, out=tmp_path / "elsewhere"))
    assert result.summary.publish is not None
    assert result.summary.publish.digest == it.artifact.digest
    assert (tmp_path / "elsewhere" / it.artifact.hex).is_dir()
    assert sealed_result(it.workspace, it.spec, Step.PUBLISH) == result
