"""A DoRA adapter: merged by the trainer, verified by the agent before an engine starts, served by the server of ours, found by routers."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from finetune_inference.contract import version_name
from finetune_inference.router.polling import held
from finetune_trainer.artifact import inspect
from finetune_trainer.cli.merge import execute
from finetune_trainer.contract import MergeRequest, MergeSummary
from finetune_trainer.pod.basefiles import file_set_digest
from finetune_trainer.pod.events import EventLog
from tests.engines.forked import Process, until
from tests.process.server.conftest import Server

PROMPT = "The ticket says:"


def merged(base: Path, adapter: Path, out: Path) -> MergeSummary:
    request = MergeRequest(
        base_path=str(base),
        base_digest=file_set_digest(base),
        base_uri="pvc://models/tiny",
        adapter_path=str(adapter),
        adapter_digest=inspect(adapter).digest,
        out_path=str(out),
        out_uri="pvc://merged/bot",
    )
    descriptor = os.open(out.with_suffix(".events"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    summary = execute(request, 1, EventLog(1, descriptor)).summary.merge
    os.close(descriptor)
    assert summary is not None
    return summary


def answer(server: Server, model: str) -> str:
    body = {"model": model, "prompt": PROMPT, "max_tokens": 24, "temperature": 0}
    text: str = server.ask("/v1/completions", body).json["choices"][0]["text"]
    return text


def test_a_merged_adapter_is_verified_served_and_answers_as_the_adapter_does(
    tiny_base: Path, adapters: dict[str, Path], server: Server, start_server: Callable[..., Server], tmp_path: Path
) -> None:
    adapter = adapters["dora"]
    (tmp_path / "out").mkdir()
    made = merged(tiny_base, adapter, tmp_path / "out")
    version = version_name("bot", made.adapter_digest)
    model = tmp_path / version.rpartition("--")[2]  # where the pod's volume mounts put them
    model.symlink_to(tmp_path / "out" / made.digest[7:])
    (tmp_path / f"{model.name}.meta").symlink_to(tmp_path / "out" / f"{made.digest[7:]}.meta")
    desired = tmp_path / "desired.json"

    def agent_at(url: str) -> Process:
        places = ["--store", str(tmp_path / "store"), "--state", str(tmp_path / "state"), "--desired", str(desired)]
        options = ["--merged-version", version, "--merged-model", str(model), "--audit-seconds", "0.2", "--port", "0"]
        return Process("agent", [*places, *options, "--engine-url", url], tmp_path / "agent.log")

    agent = agent_at("http://127.0.0.1:9")
    assert agent.get("/verifiedz")[0] == 503, "nothing is verified that nobody has asked for"
    _want(desired, version, made, digest="sha256:" + "0" * 64)
    until(lambda: "RecordMismatch" in agent.get("/verifiedz")[1], bool, "other files than those that are wanted")
    _want(desired, version, made, digest=made.digest)
    until(lambda: agent.get("/verifiedz")[0] == 200, bool, "verified before there is an engine")
    assert agent.get("/readyz")[0] == 503
    agent.kill()

    serving = start_server("--served-model-name", version, model=model)
    agent = agent_at(serving.url)
    until(lambda: agent.get("/readyz")[0] == 200, bool, "ready")
    status = json.loads(agent.get("/status")[1])["versions"][0]
    agent.kill()
    assert (status["state"], float(status["effect"])) == ("Loaded", round(float(made.effect), 4))
    assert status["fingerprint"]
    assert held(serving.ask("/v1/models").json) == (version,)
    assert answer(serving, version) == answer(server, "dora") != answer(server, "base")


def _want(file: Path, version: str, made: MergeSummary, *, digest: str) -> None:
    weights = {"uri": made.uri, "digest": digest}
    entry: dict[str, Any] = {"name": version, "uri": "pvc://adapters/dora", "digest": made.adapter_digest, "merged": weights}
    document = {"generation": 1, "base": {"name": version, "digest": made.base_digest}, "versions": [entry]}
    fresh = file.with_suffix(".new")
    fresh.write_text(json.dumps(document), encoding="utf-8")
    fresh.replace(file)
