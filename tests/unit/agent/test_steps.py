"""How single steps end when disks and engines refuse, and who an engine is."""

import errno
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from finetune_inference.agent.decide import Cause, Fetch, Load, Prove
from finetune_inference.agent.fingerprints import Fingerprints
from finetune_inference.agent.knowledge import UNKNOWN_START, Progress
from finetune_inference.agent.metrics import Metrics
from finetune_inference.agent.steps import Steps
from finetune_inference.agent.watch import look
from finetune_inference.artifact.store import Store
from finetune_inference.engine import EngineAway, EngineError, Refused, ServedModel
from tests.unit.agent.worlds import NOW, desired, version

ONE = version(1)
WANTED = desired(ONE)
PROVE = Prove(ONE, "basis", "base", "7")


class Engine:
    """Answers or raises what it is given; remembers what it was asked."""

    def __init__(self, **answers: object) -> None:
        self.asked: list[str] = []
        self._answers = answers

    async def models(self) -> tuple[ServedModel, ...]:
        return self._give("models", ())  # type: ignore[return-value]

    async def started(self) -> str | None:
        return self._give("started", None)  # type: ignore[return-value]

    async def load(self, name: str, path: str) -> None:
        self._give("load", None)

    async def unload(self, name: str) -> None:
        self._give("unload", None)

    async def first_token(self, model: str, prompt: str, alternatives: int) -> dict[str, float]:
        tokens = self._give("tokens", {})
        assert isinstance(tokens, Mapping)
        return dict(tokens[model])

    def _give(self, call: str, otherwise: object) -> object:
        self.asked.append(call)
        answer = self._answers.get(call, otherwise)
        if isinstance(answer, EngineError):
            raise answer
        return answer


class FullStore(Store):
    def fetch(self, uri: str, digest: str, proceed: Callable[[], bool] = lambda: True) -> Path:
        raise OSError(errno.ENOSPC, "No space left on device")

    def intact(self, digest: str, proceed: Callable[[], bool] = lambda: True) -> bool:
        return True


def steps(tmp_path: Path, engine: Engine) -> Steps:
    return Steps(engine, FullStore(tmp_path, {}), Fingerprints(tmp_path / "fingerprints"), Metrics(), clock=lambda: NOW)


async def test_a_full_disk_is_a_failure_of_the_version_with_its_way_out(tmp_path: Path) -> None:
    found = await steps(tmp_path, Engine()).fetch(Fetch(ONE, "basis"), WANTED, Progress())
    assert found.failure is not None
    assert found.failure.finding.reason == "StoreFull"
    assert "Enlarge" in found.failure.finding.way_out
    assert NOW < found.failure.retry_at <= NOW + timedelta(seconds=1)


async def test_an_adapter_that_kills_the_engine_is_tried_more_and_more_rarely(tmp_path: Path) -> None:
    carried_out, progress, waits = steps(tmp_path, Engine(load=EngineAway("gone"))), Progress(), []
    for _ in range(5):
        progress = await carried_out.load(Load(ONE, "basis", "/store/x", Cause.NEW), progress)
        assert progress.failure is not None
        waits.append(progress.failure.retry_at - NOW)
    assert progress.failure is not None
    assert progress.failure.count == 5
    assert waits[4] > 4 * waits[0]


async def test_a_load_that_succeeds_does_not_forget_that_the_effect_was_missing(tmp_path: Path) -> None:
    engine = Engine(tokens={"base": {"a": -1.0}, ONE.name: {"a": -1.0}})
    carried_out = steps(tmp_path, engine)
    progress = await carried_out.prove(PROVE, Progress())
    progress = await carried_out.load(Load(ONE, "basis", "/store/x", Cause.NEW), progress)
    progress = await carried_out.prove(PROVE, progress)
    assert progress.failure is not None
    assert (progress.failure.finding.reason, progress.failure.count, progress.failure.withdraw) == ("NoEffect", 2, True)


async def test_where_no_effect_is_required_a_version_without_one_is_served(tmp_path: Path) -> None:
    engine = Engine(tokens={"base": {"a": -1.0}, ONE.name: {"a": -1.0}})
    progress = await steps(tmp_path, engine).prove(replace(PROVE, require_effect=False), Progress())
    assert (progress.proven, progress.failure) == ("7", None)


async def test_the_first_fingerprint_is_kept_and_later_ones_are_held_to_it(tmp_path: Path) -> None:
    base, first, later = {"a": -1.0}, {"a": -2.0}, {"a": -2.6}
    kept = await steps(tmp_path, Engine(tokens={"base": base, ONE.name: first})).prove(PROVE, Progress())
    assert kept.proven == "7"
    changed = await steps(tmp_path, Engine(tokens={"base": base, ONE.name: later})).prove(PROVE, Progress())
    assert changed.failure is not None
    assert changed.failure.finding.reason == "FingerprintChanged"
    again = await steps(tmp_path, Engine(tokens={"base": base, ONE.name: first})).prove(PROVE, changed)
    assert (again.proven, again.failure) == ("7", None)


async def test_an_engine_that_goes_away_during_the_proof_is_no_missing_effect(tmp_path: Path) -> None:
    found = await steps(tmp_path, Engine(tokens=EngineAway("gone"))).prove(PROVE, Progress())
    assert found.failure is not None
    assert (found.failure.finding.reason, found.failure.withdraw) == ("EngineUnreachable", False)


async def test_an_unload_that_fails_is_reported_and_counted(tmp_path: Path) -> None:
    carried_out = steps(tmp_path, Engine(unload=Refused("no")))
    assert (await carried_out.unload(ONE.name)) is not None
    assert b'finetune_agent_failures_total{reason="LoadRefused"} 1.0' in carried_out.metrics.render()


@pytest.mark.parametrize(
    ("started", "age", "identity"),
    [
        ("1764010000.00", 0.0, "1764010000.00"),
        (None, 3600.0, f"created-{int(NOW.timestamp()) - 3600}"),
        (None, 0.0, UNKNOWN_START),  # the time of the answer, as vLLM gives it, is no start
    ],
)
async def test_an_engine_is_known_by_its_process_or_by_a_creation_that_lies_back(started: str | None, age: float, identity: str) -> None:
    base = ServedModel("base", created=int(NOW.timestamp() - age))
    view = await look(Engine(models=(base,), started=started), NOW)
    assert (view.reachable, view.started) == (True, identity)


async def test_an_engine_that_speaks_nonsense_is_not_reachable_and_says_why() -> None:
    view = await look(Engine(models=Refused("nonsense")), datetime.fromtimestamp(0, NOW.tzinfo))
    assert view.reachable is False
    assert view.finding is not None
    assert view.finding.way_out
