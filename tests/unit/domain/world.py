"""A cluster in a dict: carries plans out as the executor does, ends pods as told, and can lose its operator between two writes."""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import orjson

from finetune_operator.api.base import rfc3339
from finetune_operator.api.reasons import EXPLANATIONS, Reason
from finetune_operator.domain.decide import decide
from finetune_operator.domain.governance.view import GovernanceView
from finetune_operator.domain.observed import DomainSettings, Observed, PodProgress, Rejection, WarningEvent
from finetune_operator.domain.plan import Child, Deletion, ObjectReference, Plan
from finetune_trainer.contract import ProgressReport, Verdict
from tests.unit.domain.registry import Registry
from tests.unit.domain.samples import NOON, SETTINGS, UID, preflight_words, spec, words


class Crash(Exception):
    """The operator is killed."""


@dataclass
class World:
    """``writes`` counts what reached the API server; ``taken`` are names of foreign objects, ``refused`` answers to creations."""

    spec: dict[str, Any] = field(default_factory=spec)
    settings: DomainSettings = SETTINGS
    now: datetime = NOON
    generation: int = 1
    created_at: datetime | None = None
    status: dict[str, Any] | None = None
    jobs: dict[str, dict[str, Any]] = field(default_factory=dict)
    pods: dict[str, dict[str, Any]] = field(default_factory=dict)
    config_maps: set[str] = field(default_factory=set)
    documents: dict[str, dict[str, Any]] = field(default_factory=dict)
    """What stands in the ConfigMap of each run, as the trainer reads it."""
    network_policies: dict[str, dict[str, Any]] = field(default_factory=dict)
    warnings: list[WarningEvent] = field(default_factory=list)
    progress: PodProgress | None = None
    rejections: tuple[Rejection, ...] = ()
    taken: set[str] = field(default_factory=set)
    events: list[str] = field(default_factory=list)
    notes: list[tuple[str, str]] = field(default_factory=list)
    """Reason and message of each of them."""
    created: list[str] = field(default_factory=list)
    writes: int = 0
    uids: int = 0
    crash_after: int | None = None
    verdict: Verdict = Verdict.PASS
    governance: GovernanceView | None = None
    registry: Registry | None = None
    """Where records are kept; None where nobody signs."""
    labels: dict[str, str] = field(default_factory=dict)
    annotations: dict[str, str] = field(default_factory=dict)

    # What a person does

    def apply(self, new: dict[str, Any]) -> None:
        if new != self.spec:
            self.spec, self.generation = new, self.generation + 1

    def change(self, **changes: Any) -> None:
        """``a__b=value`` sets ``spec.a.b``; with ``del`` semantics for None."""
        new = copy.deepcopy(self.spec)
        for path, value in changes.items():
            *parents, last = path.split("__")
            place = new
            for parent in parents:
                place = place.setdefault(parent, {})
            place[last] = value
        self.apply(new)

    # What the operator does

    def observe(self) -> Observed:
        metadata: dict[str, Any] = {"name": "ticket-router", "namespace": "support", "uid": UID, "generation": self.generation}
        metadata |= {"labels": self.labels, "annotations": self.annotations}
        if self.created_at is not None:
            metadata["creationTimestamp"] = rfc3339(self.created_at)
        resource = {"metadata": metadata, "spec": self.spec, **({"status": self.status} if self.status is not None else {})}
        return Observed(
            resource=orjson.loads(orjson.dumps(resource)),
            settings=self.settings,
            jobs=tuple(orjson.loads(orjson.dumps(list(self.jobs.values())))),
            pods=tuple(orjson.loads(orjson.dumps(list(self.pods.values())))),
            warnings=tuple(self.warnings),
            progress=self.progress,
            rejections=self.rejections,
            governance=replace(self.governance, network_policies=self.network_policies) if self.governance is not None else None,
            signing=self.registry.view() if self.registry is not None else None,
        )

    def decide(self) -> Plan:
        return decide(self.observe(), self.now)

    def reconcile(self) -> Plan:
        """One pass of observe, decide, execute; a refused creation ends the pass and is decided about at once."""
        plan = self.decide()
        if plan.record is not None:
            assert self.registry is not None
            self.registry.record(plan.record, self._write, self.now)
            plan = self.decide()
            assert plan.record is None, "what was recorded, or refused, is asked for again at once"
        refused = self._execute(plan)
        if refused:
            self.rejections = tuple(refused)
            plan = self.decide()
            assert not self._execute(plan), "a refused write is repeated at once"
        return plan

    def forget(self) -> None:
        """The operator is started again: it knows what lies in the cluster."""
        self.rejections = ()
        if self.registry is not None:
            self.registry.forget()

    def settle(self) -> None:
        """Reconcile until nothing is written any more."""
        for _ in range(20):
            before = self.writes
            self.reconcile()
            if self.writes == before:
                return
        raise AssertionError(f"does not come to rest: {self.status}")

    def _execute(self, plan: Plan) -> list[Rejection]:
        if any(reference.name in self.jobs for reference in plan.live_checks.absent):
            return []
        for deletion in plan.deletes:
            self._delete(deletion)
        for child in plan.applies:
            self._write()
            self.network_policies[child.reference.name] = orjson.loads(orjson.dumps(child.manifest))
        for child in plan.creates:
            rejection = self._create(child)
            if rejection is not None:
                return [rejection]
        self.rejections = () if plan.creates else self.rejections
        if plan.status is not None:
            self._write()
            self.status = orjson.loads(orjson.dumps(plan.status))
        if self.registry is not None:
            self.registry.settled()
        for event in plan.events:
            self._write()
            self.events.append(event.reason)
            self.notes.append((event.reason, event.message))
        self.check()
        return []

    def _write(self) -> None:
        if self.crash_after is not None:
            if self.crash_after == 0:
                self.crash_after = None
                raise Crash
            self.crash_after -= 1
        self.writes += 1

    def _create(self, child: Child) -> Rejection | None:
        reference = child.reference
        if reference.name in self.taken:
            return Rejection(reference, "NameTaken", "already exists", self.now)
        known = self.config_maps if reference.kind == "ConfigMap" else self.jobs
        if reference.name in known:
            return None
        self._write()
        self.created.append(reference.name)
        if reference.kind == "ConfigMap":
            self.config_maps.add(reference.name)
            self.documents[reference.name] = orjson.loads(child.manifest["data"]["run.json"])
            return None
        self.uids += 1
        job = orjson.loads(orjson.dumps(child.manifest))
        job["metadata"]["uid"] = f"job-{self.uids}"
        job["metadata"]["creationTimestamp"] = rfc3339(self.now)
        job["status"] = {}
        self.jobs[reference.name] = job
        self.check()
        return None

    def _delete(self, deletion: Deletion) -> None:
        name = deletion.target.name
        if deletion.target.kind == "NetworkPolicy":
            self._write()
            del self.network_policies[name]
            return
        if deletion.target.kind == "ConfigMap":
            if name in self.config_maps:
                self._write()
                self.config_maps.discard(name)
            return
        job = self.jobs.get(name)
        if job is not None and job["metadata"]["uid"] == deletion.target.uid:
            self._write()
            job["metadata"]["deletionTimestamp"] = rfc3339(self.now)

    # What the cluster does

    def active_jobs(self) -> list[str]:
        return [n for n, job in self.jobs.items() if not job["status"].get("conditions") and "-clean-" not in n]

    @property
    def active(self) -> str:
        """Name of the one Job under way."""
        (name,) = self.active_jobs()
        return name

    def check(self) -> None:
        """The promises that hold at any moment."""
        assert len(self.active_jobs()) <= 1, f"two Jobs at once: {self.active_jobs()}"
        true = {condition["type"] for condition in (self.status or {}).get("conditions", []) if condition["status"] == "True"}
        assert not {"Reconciling", "Stalled"} <= true
        assert not {"Complete", "Failed"} <= true
        for condition in (self.status or {}).get("conditions", []):
            documented = EXPLANATIONS[Reason(condition["reason"])].conditions
            assert condition["type"] in documented, f"{condition['reason']} on {condition['type']}"

    def tick(self, seconds: float = 1.0) -> None:
        self.now += timedelta(seconds=seconds)

    def collect(self) -> None:
        """Deleted Jobs go, with their pods."""
        for name in [n for n, job in self.jobs.items() if job["metadata"].get("deletionTimestamp")]:
            self.pods.pop(name, None)
            del self.jobs[name]

    def run_pod(self, name: str | None = None) -> str:
        name = name or self.active
        labels = self.jobs[name]["spec"]["template"]["metadata"]["labels"]
        self.pods[name] = {
            "metadata": {
                "name": f"{name}-x",
                "namespace": "support",
                "uid": f"pod-{name}",
                "labels": labels,
                "creationTimestamp": rfc3339(self.now),
            },
            "spec": {"nodeName": "node-1"},
            "status": {
                "phase": "Running",
                "podIP": "10.0.0.9",
                "containerStatuses": [
                    {
                        "name": "trainer",
                        "imageID": "registry.example/trainer@sha256:1",
                        "state": {"running": {"startedAt": rfc3339(self.now)}},
                    }
                ],
            },
        }
        before = self.jobs[name]["spec"]["template"]["spec"].get("initContainers") or [{"args": []}]
        if "--outside" in before[0]["args"]:
            ended = {"exitCode": 0, "message": preflight_words(), "finishedAt": rfc3339(self.now)}
            self.pods[name]["status"]["initContainerStatuses"] = [{"name": "preflight", "state": {"terminated": ended}}]
        return name

    def find_open(self, *answering: str) -> None:
        """The probe of egress in the pod of the active Job finds a way outside: the pod ends before its trainer begins."""
        name = self.run_pod()
        status = self.pods[name]["status"]
        ended = {"exitCode": 77, "message": preflight_words(*answering), "finishedAt": rfc3339(self.now)}
        status["initContainerStatuses"] = [{"name": "preflight", "state": {"terminated": ended}}]
        status |= {"phase": "Failed", "containerStatuses": [{"name": "trainer", "state": {"waiting": {"reason": "PodInitializing"}}}]}
        self.end_job(name, 77, f"Container preflight for pod support/{name}-x failed with exit code 77 matching FailJob rule at index 0")

    def pend_pod(self, message: str | None = None, *, waiting: tuple[str, str] | None = None) -> str:
        """A pod that does not run: not scheduled, or its container waits."""
        name = self.run_pod()
        status = self.pods[name]["status"]
        status.update(phase="Pending", containerStatuses=[])
        if message is not None:
            since = rfc3339(self.now)
            condition = {
                "type": "PodScheduled",
                "status": "False",
                "reason": "Unschedulable",
                "message": message,
                "lastTransitionTime": since,
            }
            status["conditions"] = [condition]
            self.pods[name]["spec"] = {}
        if waiting is not None:
            state = {"waiting": {"reason": waiting[0], "message": waiting[1]}}
            status["containerStatuses"] = [{"name": "trainer", "state": state}]
        return name

    def end_pod(self, code: int = 0, *, message: str | None = None, reason: str = "", disruption: str = "", **fields: Any) -> str:
        """The pod of the active Job ends, and the Job with it."""
        name = self.active
        if name not in self.pods:
            self.run_pod(name)
        labels = self.pods[name]["metadata"]["labels"]
        step = labels["finetune.dev/step"]
        if message is None:
            signed = "record" in [volume["name"] for volume in self.jobs[name]["spec"]["template"]["spec"]["volumes"]]
            message = (
                words(step, self.run["key"], code, verdict=self.verdict, signed=signed, **fields)
                if code in (0, 1, 64, 65, 66, 70, 71, 74, 75, 77)
                else ""
            )
        self._end_container(name, code, message, reason, disruption)
        self.end_job(name, code)
        return name

    def delete_pod(self, code: int = 75, *, message: str | None = None, disruption: str = "", **fields: Any) -> str:
        """Somebody deletes or evicts the pod of the active Job: its container has ended, and its Job does not say so yet."""
        name = self.active
        self.pods[name]["metadata"]["deletionTimestamp"] = rfc3339(self.now)
        step = self.pods[name]["metadata"]["labels"]["finetune.dev/step"]
        said = words(step, self.run["key"], code, **fields) if message is None else message
        self._end_container(name, code, said, "", disruption)
        return name

    def _end_container(self, name: str, code: int, message: str, reason: str, disruption: str) -> None:
        status = self.pods[name]["status"]
        started = status["containerStatuses"][0]["state"]["running"]["startedAt"] if status["containerStatuses"] else rfc3339(self.now)
        ended = {"exitCode": code, "message": message, "startedAt": started, "finishedAt": rfc3339(self.now), "reason": reason}
        status["phase"] = "Failed" if code else "Succeeded"
        status["containerStatuses"] = [{"name": "trainer", "state": {"terminated": ended}}]
        if disruption:
            status["conditions"] = [
                {"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI", "message": disruption}
            ]

    def end_job(self, name: str, code: int, message: str | None = None) -> None:
        text = f"Container trainer for pod support/{name}-x failed with exit code {code} matching FailJob rule at index 0"
        condition = {
            "type": "Failed" if code else "Complete",
            "status": "True",
            "reason": "PodFailurePolicy" if code else "CompletionsReached",
            "message": (text if code else "") if message is None else message,
            "lastTransitionTime": rfc3339(self.now),
        }
        self.jobs[name]["status"] = {"conditions": [condition], "startTime": rfc3339(self.now)}

    def report(self, step: int, total: int = 300, *, checkpoint: int | None = None, **figures: Any) -> None:
        """What the running pod answers at /progress."""
        document = ProgressReport(
            run_key=self.run["key"], phase="Training", step=step, total_steps=total, checkpoint_step=checkpoint,
            updated_at=rfc3339(self.now), **{"loss": "1.5", "eta_seconds": 240, **figures},
        )  # fmt: skip
        self.progress = PodProgress(f"{self.active}-x", self.now, document)

    def lose(self, name: str) -> None:
        """Somebody deletes a Job and its pod."""
        self.jobs.pop(name, None)
        self.pods.pop(name, None)

    # What is seen

    @property
    def run(self) -> dict[str, Any]:
        assert self.status is not None
        run: dict[str, Any] = self.status["currentRun"]
        return run

    @property
    def document(self) -> dict[str, Any]:
        """What the pods of the run under way are told."""
        return self.documents[self.run["name"]]

    @property
    def pod_spec(self) -> dict[str, Any]:
        """The pod that the Job under way makes."""
        found: dict[str, Any] = self.jobs[self.active]["spec"]["template"]["spec"]
        return found

    @property
    def claims(self) -> list[str]:
        """Claims that the pod of the Job under way mounts."""
        return [volume["persistentVolumeClaim"]["claimName"] for volume in self.pod_spec["volumes"] if "persistentVolumeClaim" in volume]

    @property
    def history(self) -> list[dict[str, Any]]:
        return list((self.status or {}).get("history", []))

    def condition(self, kind: str) -> Mapping[str, Any]:
        assert self.status is not None
        return next(c for c in self.status["conditions"] if c["type"] == kind)

    def says(self, kind: str) -> tuple[str, str]:
        condition = self.condition(kind)
        return condition["status"], condition["reason"]

    def message(self, kind: str = "Ready") -> str:
        return str(self.condition(kind)["message"])

    # A whole life

    def clear(self) -> None:
        """Reconcile to rest, with what is deleted going away, until that changes nothing more."""
        for _ in range(6):
            self.settle()
            self.collect()
        self.settle()

    def step_through(self, then: Callable[["World"], None] | None = None) -> None:
        """Let the active step run and end well, and the operator notice both."""
        self.run_pod()
        self.settle()
        if then is not None:
            then(self)
        self.tick()
        self.end_pod()
        self.settle()

    def finish(self) -> None:
        """Take the run under way to its end."""
        for _ in range(3):
            if self.run.get("outcome"):
                return
            self.step_through()


def begun(**changes: Any) -> World:
    """A world whose run has just begun."""
    world = World(spec=spec(**changes))
    world.settle()
    return world


def training(**changes: Any) -> World:
    """A world whose train step runs."""
    world = begun(**changes)
    world.step_through()
    world.run_pod()
    world.settle()
    return world


def finished(**changes: Any) -> World:
    world = begun(**changes)
    world.finish()
    return world


def warn(world: World, name: str, kind: str, reason: str, message: str) -> None:
    """A Warning event about one of our objects."""
    world.warnings.append(WarningEvent(ObjectReference("v1", kind, "support", name, ""), reason, message, world.now))
