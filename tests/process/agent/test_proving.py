"""What the engine says it loaded is not believed, and what lies on a volume is not either."""

import shutil

from tests.engines.forked import until
from tests.process.agent.conftest import Pod


def test_an_adapter_without_effect_fails_and_does_not_stay_in_the_engine(pod: Pod) -> None:
    artifact = pod.publish(1, scale=0.0)
    name = artifact.name("support")
    pod.want((artifact, "support"))
    pod.start_engine()
    pod.start_agent()
    failed = pod.until_version(name, lambda found: found["state"] == "Failed")
    assert failed["reason"] == "NoEffect"
    assert failed["wayOut"]
    until(pod.listed, lambda listed: not listed, "unloaded")
    assert not pod.ready()
    pod.want((artifact, "support"), generation=2, require_effect=False)
    pod.until_ready()
    assert pod.version(name)["state"] == "Loaded"


def test_an_adapter_that_answers_otherwise_after_a_restart_is_not_served(pod: Pod) -> None:
    artifact = pod.publish(1)
    name = artifact.name("support")
    pod.want((artifact, "support"))
    pod.start_engine()
    pod.start_agent("--audit-seconds", "0.2")
    pod.until_ready()
    pod.engine.kill()
    pod.start_engine("--drift", name)
    failed = pod.until_version(name, lambda found: found["state"] == "Failed")
    assert failed["reason"] == "FingerprintChanged"
    until(pod.listed, lambda listed: not listed, "unloaded")


def test_files_other_than_the_digest_names_never_reach_the_engine(pod: Pod) -> None:
    artifact = pod.publish(1)
    weights = artifact.folder / "adapter_model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])
    pod.want((artifact, "support"))
    pod.start_engine()
    pod.start_agent()
    failed = pod.until_version(artifact.name("support"), lambda found: found["state"] == "Failed")
    assert failed["reason"] == "DigestMismatch"
    assert failed["retryAt"]
    assert not any(pod.store.iterdir())
    assert pod.engine_record()["log"] == []


def test_a_link_in_the_place_of_a_file_is_refused(pod: Pod) -> None:
    artifact = pod.publish(1)
    weights = artifact.folder / "adapter_model.safetensors"
    weights.rename(pod.folder / "elsewhere")
    weights.symlink_to(pod.folder / "elsewhere")
    pod.want((artifact, "support"))
    pod.start_engine()
    pod.start_agent()
    failed = pod.until_version(artifact.name("support"), lambda found: found["state"] == "Failed")
    assert failed["reason"] == "SymlinkRefused"
    assert failed["message"].startswith("adapter_model.safetensors: ")
    assert pod.engine_record()["log"] == []


def test_an_incompatible_adapter_fails_with_every_finding(pod: Pod) -> None:
    artifact = pod.publish(1, rank=128, config={"use_dora": True})
    pod.want((artifact, "support"))
    pod.start_engine()
    pod.start_agent()
    failed = pod.until_version(artifact.name("support"), lambda found: found["state"] == "Failed")
    assert {finding["reason"] for finding in failed["findings"]} == {"RankTooHigh", "DoraUnsupported"}
    assert all(finding["field"] and finding["wayOut"] for finding in failed["findings"])
    assert pod.engine_record()["log"] == []


def test_a_torn_copy_in_the_store_is_fetched_again_at_the_next_start(pod: Pod) -> None:
    artifact = pod.publish(1)
    torn = pod.store / artifact.folder.name
    shutil.copytree(artifact.folder, torn)
    (torn / "adapter_config.json").write_bytes(b"{")
    left = pod.store / f".{artifact.folder.name}.tmp"
    left.mkdir()
    pod.want((artifact, "support"))
    pod.start_engine()
    pod.start_agent()
    pod.until_ready()
    assert (torn / "adapter_config.json").read_bytes() == (artifact.folder / "adapter_config.json").read_bytes()
    assert [path.name for path in pod.store.iterdir()] == [artifact.folder.name]


def test_a_copy_that_was_changed_under_the_agent_is_not_loaded_again(pod: Pod) -> None:
    artifact, other = pod.publish(1), pod.publish(2)
    pod.want((artifact, "support"))
    pod.start_engine()
    pod.start_agent("--audit-seconds", "0.2")
    pod.until_ready()
    copy = pod.store / artifact.folder.name / "adapter_model.safetensors"
    shutil.copyfile(other.folder / copy.name, copy)
    pod.engine.post("/faults/drop", {"name": artifact.name("support")})
    until(lambda: artifact.name("support") in pod.listed(), bool, "loaded again")
    assert copy.read_bytes() == (artifact.folder / copy.name).read_bytes()
    pod.until_metric('finetune_agent_failures_total{reason="StoreDamaged"} 1.0')


def test_an_artifact_that_arrives_late_is_taken_without_a_restart(pod: Pod) -> None:
    artifact = pod.publish(1)
    late = artifact.folder.rename(pod.folder / "late")
    pod.want((artifact, "support"))
    pod.start_engine()
    pod.start_agent()
    failed = pod.until_version(artifact.name("support"), lambda found: found["state"] == "Failed")
    assert failed["reason"] == "ArtifactMissing"
    late.rename(artifact.folder)
    pod.until_ready()


def test_a_corrected_uri_counts_at_once(pod: Pod) -> None:
    artifact = pod.publish(1)
    entry = {"name": artifact.name("support"), "uri": "s3://bucket/adapter", "digest": artifact.digest}
    pod.want(entry)
    pod.start_engine()
    pod.start_agent()
    failed = pod.until_version(entry["name"], lambda found: found["state"] == "Failed")
    assert failed["reason"] == "SchemeUnsupported"
    pod.want(entry | {"uri": artifact.uri}, generation=2)
    until(pod.status, lambda found: found["appliedGeneration"] == 2, "generation 2")
