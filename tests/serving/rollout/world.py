"""A small world for one AdapterDeployment: routers that apply and count, pods that load, clients, an API server that stores the status."""

import copy
import json
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from finetune_inference.contract import AppliedRoute, CheckOutcome, FingerprintToken, Outcome, Route, RouterMetric, Track, version_name
from finetune_operator.domain.analysis.counters import Sample
from finetune_operator.domain.rollout.decide import decide
from finetune_operator.domain.rollout.observed import (
    HeldState,
    HeldVersion,
    JobArtifact,
    JobStanding,
    RolloutObserved,
    Router,
    ServerPod,
    Sibling,
    Unmade,
)
from finetune_operator.domain.rollout.plan import RolloutPlan

NOON = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)
UID = "0b6e1c1e-1111-4222-8333-444455556666"
ALIAS = "ticket-router"
ONE, TWO, THREE = ("sha256:" + digit * 64 for digit in "123")
FINGERPRINT, FINGERPRINT_OF_ANOTHER = (
    (FingerprintToken(token="a" * 12, logprob=first), FingerprintToken(token="b" * 12, logprob=second))
    for first, second in (("-0.1", "-2.4"), ("-1.6", "-0.2"))
)
BOUNDS = (0.1, 0.5, 1.0, 5.0)

SPEC: dict[str, Any] = {
    "modelName": ALIAS,
    "adapter": {"fineTuneJobRef": {"name": "ticket-router"}},
    "baseModel": {"uri": "pvc://models/tiny-chat"},
    "server": {"managed": {"engine": "Transformers", "replicas": 3}},
    "strategy": {
        "canary": {
            "steps": [
                {"shadow": {"percent": 20}, "bakeSeconds": 60},
                {"weight": 5, "bakeSeconds": 60},
                {"weight": 25, "bakeSeconds": 60},
                {"weight": 50, "bakeSeconds": 60},
                {"weight": 75, "bakeSeconds": 60},
            ]
        }
    },
    "analysis": {
        "minRequests": 50,
        "maxWaitSeconds": 600,
        "checks": {"schema": {"configMapRef": {"name": "tickets"}}},
    },
    "rollback": {"keepStableLoadedSeconds": 600, "drainTimeoutSeconds": 60},
}


def version(digest: str) -> str:
    return version_name(ALIAS, digest)


def spec(**changes: Any) -> dict[str, Any]:
    """The sample spec; ``a__b=value`` sets ``spec.a.b``."""
    document = copy.deepcopy(SPEC)
    for path, value in changes.items():
        *parents, last = path.split("__")
        place = document
        for parent in parents:
            place = place.setdefault(parent, {})
        place[last] = value
    return document


@dataclass(frozen=True)
class Behaviour:
    """What really happens to a version's requests."""

    errors: float = 0.0
    invalid: float = 0.0
    seconds: float = 0.3


@dataclass
class Tally:
    ok: float = 0.0
    errors: float = 0.0
    valid: float = 0.0
    invalid: float = 0.0
    latencies: dict[float, float] = field(default_factory=dict)


@dataclass
class RouterProcess:
    """``lags``: it does not see new routes; ``silent``: it answers nothing."""

    process: str = "p1"
    applied: Route | None = None
    counters: dict[tuple[str, Track], Tally] = field(default_factory=dict)
    lags: bool = False
    silent: bool = False
    unreadable: bool = False
    schema_problem: str | None = None
    breaker_open: bool = False
    open_requests: int = 0


class Crash(Exception):
    """The operator dies before this write."""


class World:
    def __init__(self, spec: dict[str, Any] | None = None, *, pods: int = 3, routers: int = 2) -> None:
        self.spec = copy.deepcopy(spec or SPEC)
        self.generation = 1
        self.now = NOON
        self.status: dict[str, Any] | None = None
        self.annotations: dict[str, str] = {}
        self.deleted = self.released = False
        self.job: JobArtifact | None = JobArtifact(f"pvc://adapters/{ONE[7:]}", ONE)
        self.standing: JobStanding | None = JobStanding("Training")
        self.pods: dict[str, dict[str, HeldVersion]] = {f"server-{number}": {} for number in range(pods)}
        self.routers = {f"router-{number}": RouterProcess() for number in range(routers)}
        self.siblings: tuple[Sibling, ...] = ()
        self.evaluated: frozenset[str] = frozenset()
        self.truth: dict[str, Behaviour] = {}
        self.refused: dict[str, HeldVersion] = {}
        self.slow_pods: set[str] = set()
        self.troubles: dict[str, str] = {}
        self.router_trouble = ""
        self.unmade: tuple[Unmade, ...] = ()
        self.odd_pods: set[str] = set()
        self.rate = 40.0
        self.writes: list[dict[str, Any]] = []
        self.events: list[tuple[str, str]] = []
        self.said: list[str] = []
        self.weights: list[tuple[int, str | None]] = []
        self.crash_at: int | None = None
        self.probed: dict[str, int] = {}
        self.may_probe = True
        self.schema: str | None = '{"type": "object"}'
        self.schema_problem = ""
        self.unread = ""

    # what people do

    def publish(self, digest: str) -> None:
        self.job = JobArtifact(f"pvc://adapters/{digest[7:]}", digest)

    def change(self, **changes: Any) -> None:
        for path, value in changes.items():
            *parents, last = path.split("__")
            place = self.spec
            for parent in parents:
                place = place.setdefault(parent, {})
            place[last] = value
        self.generation += 1

    def order(self, text: str) -> None:
        self.annotations["finetune.dev/rollout"] = text

    # what the operator does

    @property
    def resource(self) -> dict[str, Any]:
        metadata: dict[str, Any] = {
            "namespace": "support",
            "name": "bot",
            "uid": UID,
            "generation": self.generation,
            "creationTimestamp": "2026-11-22T11:00:00Z",
            "annotations": dict(self.annotations),
        }
        if self.deleted:
            metadata["deletionTimestamp"] = "2026-11-22T12:30:00Z"
        return {"metadata": metadata, "spec": copy.deepcopy(self.spec), "status": copy.deepcopy(self.status)}

    def observe(self) -> RolloutObserved:
        return RolloutObserved(
            resource=self.resource,
            job=self.job,
            standing=self.standing,
            pods=tuple(ServerPod(name, tuple(held.values()), trouble=self.troubles.get(name, "")) for name, held in self.pods.items()),
            routers=tuple(self._router(name, process) for name, process in self.routers.items()),
            unmade=self.unmade,
            router_trouble=self.router_trouble,
            siblings=self.siblings,
            evaluated=self.evaluated,
            output_schema=self.schema,
            schema_problem=self.schema_problem,
            selector="app=bot",
            may_probe=self.may_probe,
            unread=self.unread,
        )

    def decide(self) -> RolloutPlan:
        return decide(self.observe(), self.now)

    def reconcile(self) -> RolloutPlan:
        plan = self.decide()
        if plan.status is not None:
            if self.crash_at is not None and self.crash_at <= 0:
                self.crash_at = None
                raise Crash
            if self.crash_at is not None:
                self.crash_at -= 1
            self.status = json.loads(json.dumps(plan.status))
            self.writes.append(self.status)
            self._note_weight()
        self.events += [(event.type, event.reason) for event in plan.events]
        self.said += [event.message for event in plan.events]
        if plan.probes is not None:
            for name, wanted in plan.probes.wanted:
                self.probe(name, wanted)
        self.released = self.released or plan.release
        return plan

    def settle(self) -> None:
        """Reconcile until nothing more is written; the operator starts again whenever it dies."""
        for _ in range(30):
            try:
                plan = self.reconcile()
            except Crash:
                continue
            if plan.status is None:
                return
        raise AssertionError("does not come to rest")

    # what the rest of the world does

    def tick(self, seconds: float = 10.0) -> None:
        """Agents load, routers apply and count, the operator decides; then time has passed."""
        self.agents()
        self.apply()
        self.traffic(seconds)
        self.now += timedelta(seconds=seconds)
        self.settle()

    def run(self, seconds: float, step: float = 10.0) -> None:
        for _ in range(int(seconds / step)):
            self.tick(step)

    def run_until(self, phase: str, most: int = 400) -> None:
        for _ in range(most):
            if self.status is not None and self.status.get("phase") == phase:
                return
            self.tick()
        raise AssertionError(f"never {phase}: {self.phase}, {self.condition('Ready')}")

    def agents(self) -> None:
        desired = (self.status or {}).get("desired", {}).get("versions", [])
        wanted = [entry["name"] for entry in desired if "keepUntil" not in entry or entry["keepUntil"] > _text(self.now)]
        for pod, held in self.pods.items():
            if pod in self.slow_pods:
                continue
            for gone in set(held) - set(wanted):
                del held[gone]
            for name in wanted:
                tokens = FINGERPRINT_OF_ANOTHER if pod in self.odd_pods else FINGERPRINT
                held[name] = self.refused.get(name, HeldVersion(name, HeldState.LOADED, has_effect=True, fingerprint=tokens))

    def apply(self) -> None:
        stored = (self.status or {}).get("route")
        for process in self.routers.values():
            if not process.lags:
                process.applied = Route.model_validate(stored) if stored else None
                for name in process.applied.versions if process.applied else []:
                    for track in Track:
                        process.counters.setdefault((name, track), Tally())

    def traffic(self, seconds: float) -> None:
        for process in self.routers.values():
            route = process.applied
            if route is None or route.stable is None:
                continue
            requests = self.rate * seconds / len(self.routers)
            share = 0.0 if process.breaker_open else route.weight / 100
            self._count(process, route.stable, Track.LIVE, requests * (1 - share))
            if route.canary is not None:
                self._count(process, route.canary, Track.LIVE, requests * share)
                if route.shadow is not None:
                    self._count(process, route.canary, Track.SHADOW, requests * route.shadow.percent / 100)

    def probe(self, name: str, requests: int) -> None:
        self.probed[name] = self.probed.get(name, 0) + requests
        self._count(next(iter(self.routers.values())), name, Track.PROBE, requests)

    def restart(self, uid: str) -> None:
        """The router's process is another one: it counts from zero and applies what is stored."""
        number = int(self.routers[uid].process[1:]) + 1
        self.routers[uid] = RouterProcess(process=f"p{number}")
        self.apply()

    # what one may ask

    @property
    def phase(self) -> str:
        return (self.status or {}).get("phase", "")

    @property
    def route(self) -> dict[str, Any]:
        route: dict[str, Any] = (self.status or {})["route"]
        return route

    @property
    def rollout(self) -> dict[str, Any]:
        rollout: dict[str, Any] = (self.status or {}).get("rollout", {})
        return rollout

    @property
    def stable(self) -> str:
        name: str = (self.status or {}).get("stable", {}).get("version", "")
        return name

    def condition(self, kind: str) -> tuple[str, str, str]:
        found = next(condition for condition in (self.status or {})["conditions"] if condition["type"] == kind)
        return found["status"], found["reason"], found.get("message", "")

    def loaded(self) -> set[str]:
        return {name for held in self.pods.values() for name in held}

    def _note_weight(self) -> None:
        route = (self.status or {}).get("route") or {}
        self.weights.append((route.get("weight", 0), route.get("canary")))

    def _count(self, process: RouterProcess, name: str, track: Track, requests: float) -> None:
        truth = self.truth.get(name, Behaviour())
        tally = process.counters.setdefault((name, track), Tally())
        fine = requests * (1 - truth.errors)
        tally.ok += fine
        tally.errors += requests * truth.errors
        tally.invalid += fine * truth.invalid
        tally.valid += fine * (1 - truth.invalid)
        tally.latencies[truth.seconds] = tally.latencies.get(truth.seconds, 0.0) + fine

    def _router(self, name: str, process: RouterProcess) -> Router:
        uid = f"uid-{name.removeprefix('router-')}"
        if process.silent:
            return Router(uid, name, process.process, reachable=False)
        route = process.applied
        applied = None
        if route is not None:
            applied = AppliedRoute(
                deployment=route.deployment,
                alias=route.alias,
                generation=route.generation,
                weight=route.weight,
                breaker_open=process.breaker_open and route.canary is not None,
                schema_problem=process.schema_problem if route.schema_check is not None else None,
                in_flight=dict.fromkeys(route.versions, process.open_requests),
            )
        samples = None if process.unreadable else tuple(_samples(process.counters))
        return Router(uid, name, process.process, applied=applied, samples=samples)


def serving(**changes: Any) -> World:
    """The first version serves, nothing is retained."""
    world = World(spec(**changes))
    world.run_until("Healthy")
    return world


def baking(step: int = 1, **changes: Any) -> World:
    """A second version is in the bake of a step."""
    world = serving(**changes)
    world.publish(TWO)
    for _ in range(200):
        if world.rollout.get("stage") == "Baking" and world.rollout.get("step") == step:
            return world
        world.tick()
    raise AssertionError(world.rollout)


def with_truth(world: World, digest: str, **truth: float) -> World:
    world.truth[version(digest)] = replace(Behaviour(), **truth)
    return world


def _samples(counters: dict[tuple[str, Track], Tally]) -> list[Sample]:
    made = []
    for (name, track), tally in counters.items():
        labels = {"namespace": "support", "deployment": "bot", "version": name, "track": track.value}
        for outcome, value in ((Outcome.OK, tally.ok), (Outcome.ERROR, tally.errors)):
            made.append(Sample(RouterMetric.REQUESTS.value, {**labels, "outcome": outcome.value}, float(int(value))))
        for check, value in ((CheckOutcome.VALID, tally.valid), (CheckOutcome.INVALID, tally.invalid)):
            made.append(Sample(RouterMetric.CHECKS.value, {**labels, "check": "schema", "outcome": check.value}, float(int(value))))
        for metric in (RouterMetric.TTFT, RouterMetric.ITL):
            for bound in (*BOUNDS, float("inf")):
                below = sum(count for seconds, count in tally.latencies.items() if seconds <= bound)
                made.append(Sample(f"{metric.value}_bucket", {**labels, "le": str(bound)}, float(int(below))))
    return made


def _text(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
