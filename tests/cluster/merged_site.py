"""What a kubelet and the controllers do in mode Merged: merges end, and each version's Deployment gets its pod, whose processes run here.

The merged model is a folder as ``finetune-trainer merge`` leaves it, with weights that nobody computes: its engine is the fake of vLLM.
That the trainer makes such folders, and that the server of ours loads them, is shown elsewhere.
"""

import json
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from finetune_inference.artifact.contents import folder_digest
from finetune_operator.api.base import LABEL_DEPLOYMENT, LABEL_SERVING_ROLE, LABEL_VERSION
from finetune_operator.manifests.serving import merge_key
from finetune_testbed.apiserver import ApiServer, RequestError
from finetune_trainer.contract import FailureClass, MergeSummary, Summary, TerminationMessage
from tests.cluster.job_pods import end_job
from tests.cluster.serving.accounts import agent_rules
from tests.cluster.serving.pods import ENGINE_PORT, EngineProgram, Server
from tests.cluster.serving_site import NAME, Site
from tests.engines.artifacts import BASE_DIGEST, Published
from tests.engines.forked import Process

URI = "pvc://merged/bot"
SPEC: dict[str, Any] = {"mode": "Merged", "merge": {"uri": URI}, "server": {"managed": {"engine": "Transformers", "replicas": 1}}}
ARGUMENTS = ("--inference-image", "registry.invalid/finetune-inference:test", "--no-serving-network-policies")


def merge(adapter_digest: str, out: Path) -> MergeSummary:
    """What the trainer would leave in ``out``; equal inputs give equal files."""
    staged = out / f".staged-{adapter_digest[7:19]}"
    staged.mkdir(parents=True, exist_ok=True)
    (staged / "config.json").write_text(json.dumps({"model_type": "llama"}))
    facts = {"kind": "ArtifactFacts", "weights": "Model", "mergedFrom": {"adapterDigest": adapter_digest}}
    (staged / "finetune.json").write_text(json.dumps(facts))
    save_file({"weight": np.frombuffer(bytes.fromhex(adapter_digest[7:]), dtype=np.uint8)}, staged / "model.safetensors")
    digest = folder_digest(staged)
    summary = MergeSummary(
        uri=f"{URI}/{digest[7:]}",
        digest=digest,
        bytes=sum(path.stat().st_size for path in staged.iterdir()),
        base_digest=BASE_DIGEST,
        adapter_digest=adapter_digest,
        dtype="F32",
        difference="0.00001",
        tolerance="0.0001",
        effect="0.5",
    )
    folder = out / digest[7:]
    if not folder.exists():
        staged.rename(folder)
        meta = out / f"{digest[7:]}.meta"
        meta.mkdir(exist_ok=True)
        record = {"kind": "MergeRecord", "artifactDigest": digest, "merge": json.loads(summary.to_json())}
        (meta / "record.json").write_text(json.dumps(record))
    return summary


class Kubelet:
    """Follows Jobs and Deployments of one AdapterDeployment until it is closed; what it meets unexpectedly is raised at the end."""

    def __init__(self, site: Site, name: str = NAME) -> None:
        self.site = site
        self.out = site.folder / "merged"
        self.servers: dict[str, Server] = {}
        self.merges: list[str] = []
        self.most_at_once = 0
        self.outcome = FailureClass.DONE
        self.damaged = False
        self._name = name
        self._count = 0
        self._source = site.access(agent_rules(name), f"{name}-agents")
        self._stop = threading.Event()
        self._problem: BaseException | None = None
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
        for server in self.servers.values():
            server.kill()
        if self._problem is not None:
            raise self._problem

    def forget_merges(self) -> None:
        """As their time to live does."""
        for plural, group in (("jobs", "batch/v1"), ("pods", "")):
            for name in {f"{merge}{'-pod' * (not group)}" for merge in self.merges}:
                with suppress(RequestError):
                    path = self.site.place.path(plural, name, group=group)
                    self.site.place.server.request("DELETE", path, {"gracePeriodSeconds": 0, "propagationPolicy": "Background"})

    def _follow(self) -> None:
        try:
            with ApiServer(self.site.place.bed) as self._server:
                while not self._stop.wait(0.05):
                    self._run_jobs()
                    self._run_deployments()
        except BaseException as problem:  # noqa: BLE001  raised by `close`, in the test's own thread
            self._problem = problem

    def _run_jobs(self) -> None:
        for job in self._items("jobs", "batch/v1", f"{LABEL_SERVING_ROLE}=merge"):
            if (job.get("status") or {}).get("conditions"):
                continue
            metadata, template = job["metadata"], job["spec"]["template"]
            self.merges.append(metadata["name"])
            words = self._words(template["spec"]["containers"][0]["args"])
            try:
                end_job(self._server, self.site.place, job, 0 if self.outcome is FailureClass.DONE else 66, words)
            except RequestError as error:
                if error.status != 404:  # deleted meanwhile, as one that nobody waits for
                    raise

    def _words(self, arguments: list[str]) -> str:
        given = dict(zip(arguments[1::2], arguments[2::2], strict=True))
        assert given["--base-digest"] == BASE_DIGEST
        summary = merge(given["--adapter-digest"], self.out)

        done = self.outcome is FailureClass.DONE
        return TerminationMessage(
            step="merge",
            run_key=merge_key(given["--base-digest"], given["--adapter-digest"]),
            outcome=self.outcome,
            reason="Done" if done else "AdapterMisfit",
            message="" if done else "weights without a place",
            hint="" if done else "Merge it into the base it was trained on.",
            summary=Summary(merge=summary) if done else None,
        ).to_json()

    def _run_deployments(self) -> None:
        found = self._items("deployments", "apps/v1", f"{LABEL_SERVING_ROLE}=server,{LABEL_DEPLOYMENT}={self._name}")
        wanted = {item["metadata"]["labels"][LABEL_VERSION]: item for item in found}
        self.most_at_once = max(self.most_at_once, len(wanted))
        for digits in wanted.keys() - self.servers.keys():
            self.servers[digits] = self._start(digits, wanted[digits]["spec"]["template"])
        for digits in self.servers.keys() - wanted.keys():
            server = self.servers.pop(digits)
            self._delete("pods", server.name, "")
            server.kill()

    def _start(self, digits: str, template: dict[str, Any]) -> Server:
        """As the pod's template says it: the engine's name and the agent's version, and a folder under the path it mounts."""
        (agent,), (engine,) = template["spec"]["initContainers"], template["spec"]["containers"]
        mounts = {mount["mountPath"]: mount.get("subPath", "") for mount in agent["volumeMounts"]}
        model = self.site.folder / f"pod-{self._count}" / digits
        model.mkdir(parents=True)
        for suffix in ("", ".meta"):
            folder = self.out / Path(mounts[f"/mnt/merged/{digits}{suffix}"]).name
            target = model.with_name(f"{digits}{suffix}")
            target.mkdir(exist_ok=True)
            for file in folder.iterdir():
                (target / file.name).write_bytes(file.read_bytes() + (b" " if self.damaged and file.name == "config.json" else b""))
        version = engine["args"][engine["args"].index("--served-model-name") + 1]
        program = EngineProgram(lambda ip, place: _engine(ip, place, version, model), self.site.folder / "base")
        source = ["--adapter-deployment", self._name, "--namespace", self.site.place.namespace, *self._source]
        source += ["--merged-version", agent["args"][agent["args"].index("--merged-version") + 1], "--merged-model", str(model)]
        self._count += 1
        pod, ip = f"server-{digits}-{self._count}", self.site.address(100 + self._count)
        server = Server(pod, ip, self.site.folder / pod, program, source=source, claim=self.site.volume)
        self.site.add_pod(pod, ip, template["metadata"]["labels"], self._server)
        return server

    def _items(self, plural: str, group: str, labels: str) -> list[dict[str, Any]]:
        path = f"{self.site.place.path(plural, group=group)}?labelSelector={labels.replace('=', '%3D').replace(',', '%2C')}"
        found: list[dict[str, Any]] = self._server.request("GET", path)["items"]
        return found

    def _delete(self, plural: str, name: str, group: str) -> None:
        with suppress(RequestError):
            self._server.request("DELETE", self.site.place.path(plural, name, group=group), {"gracePeriodSeconds": 0})


def _engine(ip: str, place: Path, version: str, model: Path) -> Process:
    arguments = ["--address", ip, "--port", str(ENGINE_PORT), "--served-model-name", version, "--model", str(model)]
    engine = Process("engine", arguments, place / "engine.log", ip)
    assert engine.port == ENGINE_PORT
    return engine


def rollout(site: Site, adapter: Published, **changes: Any) -> None:
    site.apply(adapter, **{**SPEC, **changes})
