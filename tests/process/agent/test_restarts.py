"""Whoever dies, and whatever is away: what was wanted last is served, and nothing is done twice."""

import json
import time

from tests.engines.forked import until
from tests.process.agent.conftest import Pod


def test_a_killed_engine_has_its_adapters_back_before_the_pod_is_ready(pod: Pod) -> None:
    published = [pod.publish(seed) for seed in range(3)]
    names = [artifact.name("support") for artifact in published]
    pod.want(*((artifact, "support") for artifact in published))
    pod.start_engine("--load-seconds", "0.1")
    pod.start_agent()
    pod.until_ready()
    before = pod.status()
    pod.engine.kill()
    assert not pod.ready()
    pod.start_engine()
    engine_up = time.monotonic() if pod.engine.port else 0.0
    until(pod.ready, bool, "ready again")
    seconds = time.monotonic() - engine_up
    assert list(pod.listed()) == names
    assert pod.engine_record()["log"] == [f"load {name}" for name in names]
    after = pod.status()
    assert after["engine"]["restarts"] == 1
    assert after["engine"]["started"] != before["engine"]["started"]
    assert [entry["fingerprint"] for entry in after["versions"]] == [entry["fingerprint"] for entry in before["versions"]]
    pod.until_metric('finetune_agent_audit_repairs_total{cause="EngineRestart"} 3.0')
    print(f"\nmeasured: three adapters of 0.1 s load time served and proven {seconds:.2f} s after the engine listens again")


def test_readiness_does_not_believe_an_old_look_at_an_engine_that_restarted_between_two_audits(pod: Pod) -> None:
    artifact = pod.publish(1)
    pod.want((artifact, "support"))
    pod.start_engine()
    pod.start_agent("--audit-seconds", "3600")
    pod.until_ready()
    pod.engine.kill()
    pod.start_engine("--load-seconds", "0.5")
    assert pod.engine.port
    until(lambda: (pod.ready(), artifact.name("support") in pod.listed()), lambda found: found[0], "ready again")
    assert artifact.name("support") in pod.listed()
    assert pod.status()["engine"]["restarts"] == 1


def test_a_killed_agent_leaves_the_engine_serving_and_repeats_nothing(pod: Pod) -> None:
    artifact = pod.publish(1)
    name = artifact.name("support")
    pod.want((artifact, "support"))
    pod.start_engine()
    pod.start_agent()
    pod.until_ready()
    copied = (pod.store / artifact.folder.name / "adapter_model.safetensors").stat()
    pod.agent.kill()
    status, body = pod.engine.post("/v1/completions", {"model": name, "prompt": "a", "max_tokens": 2})
    assert status == 200
    assert json.loads(body)["choices"][0]["text"] == f"{name} word"
    pod.start_agent()
    pod.until_ready()
    assert pod.engine_record()["log"] == [f"load {name}"]
    assert (pod.store / artifact.folder.name / "adapter_model.safetensors").stat().st_ino == copied.st_ino
    assert pod.status()["engine"]["restarts"] == 0


def test_an_agent_killed_in_the_middle_of_a_load_lets_it_end_and_does_not_load_twice(pod: Pod) -> None:
    artifact = pod.publish(1)
    name = artifact.name("support")
    pod.want((artifact, "support"))
    pod.start_engine("--load-seconds", "3.0")
    pod.start_agent()
    pod.until_version(name, lambda found: found["state"] == "Loading")
    pod.agent.kill()
    pod.start_agent()
    pod.until_ready()
    assert pod.engine_record()["log"] == [f"load {name}"]


def test_an_agent_killed_after_every_step_ends_where_one_that_was_left_alone_does(pod: Pod) -> None:
    """The engine's log and the store are looked at until one more step was done; then the agent is killed."""
    published = [pod.publish(seed) for seed in range(2)]
    names = [artifact.name("support") for artifact in published]
    pod.want(*((artifact, "support") for artifact in published))
    pod.start_engine()

    def done() -> int:
        return sum(1 for path in pod.store.glob("[0-9a-f]*")) + len(pod.engine_record()["log"])

    while (before := done()) < 4:
        pod.start_agent()
        until(done, lambda steps, before=before: steps > before, "a step")
        pod.agent.kill()
    pod.start_agent()
    pod.until_ready()
    assert pod.engine_record()["log"] == [f"load {name}" for name in names]
    assert sorted(path.name for path in pod.store.iterdir()) == sorted(artifact.folder.name for artifact in published)


def test_term_ends_the_agent_and_takes_nothing_out_of_the_engine(pod: Pod) -> None:
    artifact = pod.publish(1)
    pod.want((artifact, "support"))
    pod.start_engine()
    pod.start_agent()
    pod.until_ready()
    assert pod.agent.terminate() == 0
    assert list(pod.listed()) == [artifact.name("support")]


def test_term_during_a_load_ends_the_agent_at_once(pod: Pod) -> None:
    artifact = pod.publish(1)
    pod.want((artifact, "support"))
    pod.start_engine("--load-seconds", "3600")
    pod.start_agent()
    pod.until_version(artifact.name("support"), lambda found: found["state"] == "Loading")
    assert pod.agent.terminate() == 0


def test_with_source_and_volume_away_a_restarted_agent_works_by_the_last_good_set(pod: Pod) -> None:
    artifact = pod.publish(1)
    pod.want((artifact, "support"))
    pod.start_engine()
    pod.start_agent()
    pod.until_ready()
    pod.agent.kill()
    pod.engine.kill()
    pod.desired_file.unlink()
    pod.volume.rename(pod.folder / "away")
    pod.start_engine()
    pod.start_agent()
    pod.until_ready()
    status = pod.status()
    assert status["source"] == "LastGood"
    assert "No such file" in status["sourceMessage"]
    assert list(pod.listed()) == [artifact.name("support")]


def test_a_desired_set_that_cannot_be_read_changes_nothing_and_names_the_field(pod: Pod) -> None:
    artifact = pod.publish(1)
    pod.want((artifact, "support"))
    pod.start_engine()
    pod.start_agent()
    pod.until_ready()
    pod.desired_file.write_text(pod.desired_file.read_text().replace(artifact.digest, "sha256:short"))
    status = until(pod.status, lambda found: found["source"] == "LastGood", "source away")
    assert status["sourceMessage"].startswith("versions.0.digest: ")
    assert pod.ready()
    pod.want((artifact, "support"), generation=3)
    until(pod.status, lambda found: found["source"] == "Current" and found["appliedGeneration"] == 3, "source back")


def test_an_adapter_that_the_engine_dropped_is_loaded_again_by_the_audit(pod: Pod) -> None:
    artifact = pod.publish(1)
    name = artifact.name("support")
    pod.want((artifact, "support"))
    pod.start_engine()
    pod.start_agent("--audit-seconds", "0.2")
    pod.until_ready()
    pod.engine.post("/faults/drop", {"name": name})
    until(pod.engine_record, lambda record: record["log"] == [f"load {name}"] * 2, "loaded again")
    pod.until_ready()
    pod.until_metric('finetune_agent_audit_repairs_total{cause="Lost"} 1.0')


def test_an_engine_that_hangs_or_is_unwell_makes_the_pod_unready_and_not_the_agent_dead(pod: Pod) -> None:
    artifact = pod.publish(1)
    pod.want((artifact, "support"))
    pod.start_engine()
    pod.start_agent()
    pod.until_ready()
    pod.fault(unhealthy=True)
    assert until(pod.ready, lambda ready: not ready, "unready") is False
    pod.fault(unhealthy=False)
    pod.until_ready()
    pod.fault(hang=True)
    assert until(pod.ready, lambda ready: not ready, "unready") is False
    assert pod.agent.get("/healthz")[0] == 200
    pod.fault(hang=False)
    pod.until_ready()
    assert pod.engine_record()["log"] == [f"load {artifact.name('support')}"]
