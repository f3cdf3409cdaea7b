"""What is wanted gets into the engine, in order, one at a time, and nothing else stays there."""

import json

from tests.engines.forked import until
from tests.process.agent.conftest import Pod


def test_versions_are_loaded_in_the_wanted_order_one_at_a_time(pod: Pod) -> None:
    published = [pod.publish(seed) for seed in range(4)]
    pod.want(*((artifact, "support") for artifact in published))
    pod.start_engine("--load-seconds", "0.2")
    pod.start_agent()
    pod.until_ready()
    record = pod.engine_record()
    assert record["log"] == [f"load {artifact.name('support')}" for artifact in published]
    assert record["counts"]["mostLoading"] == 1
    assert pod.listed() == {artifact.name("support"): str(pod.store / artifact.folder.name) for artifact in published}


def test_the_pod_is_not_ready_before_the_last_required_version_is_proven(pod: Pod) -> None:
    first, second = pod.publish(1), pod.publish(2)
    pod.want((first, "support"), (second, "support"))
    pod.start_engine("--load-seconds", "0.3")
    pod.start_agent()
    seen = until(pod.status, lambda status: any(entry["state"] == "Loaded" for entry in status["versions"]), "one version")
    if not all(entry["state"] == "Loaded" for entry in seen["versions"]):
        assert seen["ready"] is False
    pod.until_ready()
    assert [entry["state"] for entry in pod.status()["versions"]] == ["Loaded", "Loaded"]


def test_an_agent_that_starts_first_waits_for_the_engine(pod: Pod) -> None:
    artifact = pod.publish(1)
    pod.want((artifact, "support"))
    pod.start_engine()
    pod.engine.kill()
    pod.start_agent()
    verified = pod.until_version(artifact.name("support"), lambda found: found["state"] == "Verified")
    assert verified["reason"] == "EngineUnreachable"
    assert pod.agent.get("/healthz")[0] == 200
    assert not pod.ready()
    pod.start_engine("--start-seconds", "0.5")
    pod.until_ready()


def test_a_version_that_is_no_longer_wanted_is_unloaded_and_its_files_removed(pod: Pod) -> None:
    old, new = pod.publish(1), pod.publish(2)
    pod.want((old, "support"))
    pod.start_engine()
    pod.start_agent()
    pod.until_ready()
    pod.want((new, "support"), generation=2)
    status = until(pod.status, lambda found: found["appliedGeneration"] == 2, "generation 2")
    assert [entry["name"] for entry in status["versions"]] == [new.name("support")]
    assert pod.engine_record()["log"][-1] == f"unload {old.name('support')}"
    until(lambda: [path.name for path in pod.store.iterdir()], lambda names: names == [new.folder.name], "store")


def test_adapters_of_somebody_else_stay_in_the_engine(pod: Pod) -> None:
    ours, foreign = pod.publish(1), pod.publish(2)
    pod.want((ours, "support"))
    pod.start_engine()
    pod.engine.post("/v1/load_lora_adapter", {"lora_name": "handmade", "lora_path": str(foreign.folder)})
    pod.start_agent()
    pod.until_ready()
    pod.want(generation=2)
    until(pod.status, lambda found: found["appliedGeneration"] == 2, "generation 2")
    assert pod.listed() == {"handmade": str(foreign.folder)}


def test_a_name_that_holds_other_files_is_replaced(pod: Pod) -> None:
    artifact, other = pod.publish(1), pod.publish(2)
    name = artifact.name("support")
    pod.want((artifact, "support"))
    pod.start_engine()
    pod.engine.post("/v1/load_lora_adapter", {"lora_name": name, "lora_path": str(other.folder)})
    pod.start_agent()
    pod.until_ready()
    assert pod.listed() == {name: str(pod.store / artifact.folder.name)}
    assert pod.engine_record()["log"] == [f"load {name}", f"unload {name}", f"load {name}"]


def test_a_failed_load_is_tried_again_and_others_go_on(pod: Pod) -> None:
    first, second = pod.publish(1), pod.publish(2)
    pod.want((first, "support"), (second, "support"))
    pod.start_engine()
    pod.fault(fail_loads=1)
    pod.start_agent()
    pod.until_ready()
    assert pod.engine_record()["log"] == [f"load {second.name('support')}", f"load {first.name('support')}"]
    pod.until_metric('finetune_agent_failures_total{reason="LoadRefused"} 1.0')


def test_an_optional_version_that_fails_leaves_the_pod_ready(pod: Pod) -> None:
    stable, canary = pod.publish(1), pod.publish(2, scale=0.0)
    canary_entry = {"name": canary.name("support"), "uri": canary.uri, "digest": canary.digest, "required": False}
    pod.want((stable, "support"), canary_entry)
    pod.start_engine()
    pod.start_agent()
    pod.until_version(canary.name("support"), lambda found: found["state"] == "Failed")
    pod.until_ready()
    assert pod.status()["appliedGeneration"] == 0


def test_more_versions_than_slots_are_refused_by_number(pod: Pod) -> None:
    stable, canary = pod.publish(1), pod.publish(2)
    pod.want((stable, "support"), (canary, "support"), max_cpu_loras=1)
    pod.start_engine("--max-cpu-loras", "1")
    pod.start_agent()
    failed = pod.until_version(canary.name("support"), lambda found: found["state"] == "Failed")
    assert failed["reason"] == "SlotsExceeded"
    assert "2 versions are wanted, the engine keeps 1" in failed["message"]
    assert pod.until_version(stable.name("support"), lambda found: found["state"] == "Loaded")


def test_an_engine_without_runtime_loading_is_named_with_the_way_out(pod: Pod) -> None:
    artifact = pod.publish(1)
    pod.want((artifact, "support"))
    pod.start_engine("--no-runtime-updates")
    pod.start_agent()
    failed = pod.until_version(artifact.name("support"), lambda found: found["state"] == "Failed")
    assert failed["reason"] == "RuntimeLoadingOff"
    assert "VLLM_ALLOW_RUNTIME_LORA_UPDATING" in failed["wayOut"]


def test_a_corrected_key_counts_without_a_restart_and_is_never_told(pod: Pod) -> None:
    artifact, key = pod.publish(1), pod.folder / "key"
    key.write_text("wrong-key-4711")
    pod.want((artifact, "support"))
    pod.start_engine("--api-key", "right-key-4712")
    pod.start_agent("--engine-key-file", str(key))
    refused = pod.until_version(artifact.name("support"), lambda found: found.get("reason") == "EngineKeyRejected")
    assert refused["state"] == "Verified"
    key.write_text("right-key-4712\n")
    pod.until_ready()
    told = json.dumps(pod.status()) + pod.agent.log() + pod.agent.get("/metrics")[1]
    assert "-key-47" not in told


def test_status_and_logs_hold_no_prompt_and_no_token(pod: Pod) -> None:
    artifact = pod.publish(1)
    pod.want((artifact, "support"))
    pod.start_engine()
    pod.start_agent()
    pod.until_ready()
    loaded = pod.version(artifact.name("support"))
    assert len(loaded["fingerprint"]) == 5
    assert float(loaded["effect"]) > 0.1
    told = json.dumps(pod.status()) + pod.agent.log() + pod.agent.get("/metrics")[1]
    assert "quick brown fox" not in told
    assert " ticket" not in told


def test_versions_that_come_and_go_take_no_room_from_the_one_that_stays(pod: Pod) -> None:
    """Engines of this kind keep the weights of what was unloaded until they need the slot."""
    stays, guests = pod.publish(0), [pod.publish(seed) for seed in (1, 2)]
    pod.start_engine("--max-cpu-loras", "2")
    pod.want((stays, "support"))
    pod.start_agent()
    pod.until_ready()
    for number, guest in enumerate(guests):
        for generation, wanted in ((2 * number + 2, (stays, guest)), (2 * number + 3, (stays,))):
            pod.want(*((artifact, "support") for artifact in wanted), generation=generation, max_cpu_loras=2)
            until(pod.status, lambda status, generation=generation: status["appliedGeneration"] == generation, f"generation {generation}")
    record = pod.engine_record()
    assert [entry for entry in record["log"] if stays.name("support") in entry] == [f"load {stays.name('support')}"]
    assert record["counts"]["cached"] <= 2
    assert list(pod.listed()) == [stays.name("support")]
    until(lambda: [path.name for path in pod.store.iterdir()], lambda names: names == [stays.folder.name], "store")
