"""A world in which every step of the agent succeeds or fails as told, so that its decisions can be followed to their end."""

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import PurePosixPath

from finetune_inference.agent.decide import Collect, Fetch, Load, Plan, Prove, Unload, decide
from finetune_inference.agent.knowledge import EngineView, Failure, Observed, Progress, Stage
from finetune_inference.contract import DesiredSet, DesiredVersion, EngineLimits, EngineSpec, Finding, ServedBase, version_name
from finetune_inference.engine import ServedModel
from finetune_trainer.contract import digest_of

NOW = datetime(2026, 1, 1, tzinfo=UTC)
STORE = PurePosixPath("/store")
BASE = ServedModel("base", "/models/base")


def version(number: int, **changes: object) -> DesiredVersion:
    digest = digest_of(str(number).encode())
    fields: dict[str, object] = {"name": version_name("support", digest), "uri": f"pvc://adapters/{number}", "digest": digest}
    return DesiredVersion.model_validate({**fields, **changes})


def desired(*versions: DesiredVersion, generation: int = 1, slots: int = 8) -> DesiredSet:
    engine = EngineSpec(limits=EngineLimits(max_cpu_loras=slots))
    return DesiredSet(generation=generation, base=ServedBase(name="base"), engine=engine, versions=list(versions))


def listed(entry: DesiredVersion, root: str | None = None) -> ServedModel:
    return ServedModel(entry.name, root or str(STORE / entry.digest.removeprefix("sha256:")), "base")


@dataclass
class World:
    """``engine`` maps names to roots. ``bad`` maps the name of a version to the stage at which it always fails."""

    engine: dict[str, str] = field(default_factory=dict)
    held: set[str] = field(default_factory=set)
    started: str = "1"
    reachable: bool = True
    progress: dict[str, Progress] = field(default_factory=dict)
    bad: dict[str, Stage] = field(default_factory=dict)
    now: datetime = NOW
    log: list[str] = field(default_factory=list)
    most_listed: int = 0

    def observed(self) -> Observed:
        models = (BASE, *(ServedModel(name, root, "base") for name, root in self.engine.items())) if self.reachable else ()
        view = EngineView(reachable=self.reachable, started=self.started, models=models)
        return Observed(view, STORE, dict(self.progress), frozenset(self.held))

    def restart_engine(self) -> None:
        self.engine.clear()
        self.started = str(int(self.started) + 1)

    def step(self, wanted: DesiredSet) -> Plan:
        """Do what is decided, to its end."""
        plan = decide(self.observed(), wanted, self.now)
        match plan.disk:
            case Fetch(entry, basis):
                self.log.append(f"fetch {entry.name}")
                if not self._fails(entry, Stage.FETCH, basis):
                    self.held.add(entry.digest)
                    self._know(entry, checked=basis)
            case Collect(keep):
                self.log.append("collect")
                self.held &= keep
        match plan.engine:
            case Load(entry, basis, path):
                self.log.append(f"load {entry.name}")
                if not self._fails(entry, Stage.LOAD, basis):
                    self.engine[entry.name] = path
                    self._know(entry, proven=None)
            case Prove(entry, basis, _, started):
                self.log.append(f"prove {entry.name}")
                if not self._fails(entry, Stage.PROVE, basis):
                    self._know(entry, proven=started, failure=None)
            case Unload(name):
                self.log.append(f"unload {name}")
                del self.engine[name]
        self.most_listed = max(self.most_listed, len(self.engine))
        return plan

    def settle(self, wanted: DesiredSet, steps: int = 200) -> None:
        """Step until nothing is decided any more at this time; fails when that never comes."""
        for _ in range(steps):
            plan = self.step(wanted)
            if plan.disk is None and plan.engine is None:
                return
        raise AssertionError(f"never settles: {self.log[-10:]}")

    def _know(self, entry: DesiredVersion, **changes: object) -> None:
        self.progress[entry.name] = replace(self.progress.get(entry.name, Progress()), **changes)  # type: ignore[arg-type]

    def _fails(self, entry: DesiredVersion, stage: Stage, basis: str) -> bool:
        if self.bad.get(entry.name) is not stage:
            return False
        earlier = self.progress.get(entry.name, Progress()).failure
        count = (earlier.count if earlier else 0) + 1
        finding = Finding(field="x", reason="Bad", message="bad", way_out="none")
        wait = timedelta(seconds=2**count)
        self._know(entry, failure=Failure(stage, basis, finding, count, self.now + wait, withdraw=stage is Stage.PROVE))
        return True
