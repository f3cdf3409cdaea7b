"""What the agent says of itself, state by state, each with a reason and what to do."""

from dataclasses import replace
from datetime import timedelta

import pytest

from finetune_inference.agent.knowledge import EngineView, Failure, Observed, Progress, Stage, basis_of
from finetune_inference.agent.report import agent_status, is_applied
from finetune_inference.agent.server import unready
from finetune_inference.contract import AgentStatus, DesiredSet, Finding, FingerprintToken, SourceState, VersionState
from finetune_inference.engine import ServedModel
from tests.unit.agent.worlds import BASE, NOW, STORE, desired, listed, version

ONE, TWO = version(1), version(2)
WANTED = desired(ONE)
BASIS = basis_of(ONE, WANTED)
AWAY = EngineView(reachable=False)
EMPTY = EngineView(reachable=True, started="7", models=(BASE,))
HOLDING = EngineView(reachable=True, started="7", models=(BASE, listed(ONE)))
CHECKED = Progress(checked=BASIS)
TOKEN = FingerprintToken(token="0" * 12, logprob="-0.5")
PROVEN = replace(CHECKED, proven="7", fingerprint=(TOKEN,), effect=0.25, loaded_at=NOW)
BAD = Finding(field="artifact", reason="NoEffect", message="nothing changes", way_out="Train longer.")
FAILED = replace(CHECKED, failure=Failure(Stage.PROVE, BASIS, BAD, 3, NOW + timedelta(seconds=60), (BAD,), withdraw=True))


def status(observed: Observed, wanted: DesiredSet | None = WANTED) -> AgentStatus:
    return agent_status(observed, wanted, NOW, source=SourceState.CURRENT, source_message=None, restarts=0)


def seen(view: EngineView, progress: Progress, **changes: str) -> Observed:
    return replace(Observed(view, STORE, {ONE.name: progress}), **changes)


@pytest.mark.parametrize(
    ("observed", "state", "reason"),
    [
        (seen(EMPTY, Progress()), VersionState.PENDING, None),
        (seen(EMPTY, Progress(), fetching=ONE.name), VersionState.FETCHING, None),
        (seen(AWAY, CHECKED), VersionState.VERIFIED, "EngineUnreachable"),
        (seen(EMPTY, CHECKED), VersionState.VERIFIED, None),
        (seen(EMPTY, CHECKED, loading=ONE.name), VersionState.LOADING, None),
        (seen(HOLDING, CHECKED), VersionState.LOADING, None),
        (seen(HOLDING, PROVEN), VersionState.LOADED, None),
        (seen(HOLDING, replace(PROVEN, proven="6")), VersionState.LOADING, None),
        (seen(EMPTY, PROVEN), VersionState.VERIFIED, None),
        (seen(AWAY, PROVEN), VersionState.VERIFIED, "EngineUnreachable"),
        (seen(EMPTY, FAILED), VersionState.FAILED, "NoEffect"),
        (seen(EMPTY, FAILED, loading=ONE.name), VersionState.LOADING, "NoEffect"),
        (seen(EngineView(reachable=True, models=(ServedModel("other"),)), CHECKED), VersionState.VERIFIED, "BaseNotServed"),
    ],
    ids=lambda value: "" if isinstance(value, Observed) else str(value),
)
def test_a_versions_state_and_reason(observed: Observed, state: VersionState, reason: str | None) -> None:
    found = status(observed)
    assert (found.versions[0].state, found.versions[0].reason) == (state, reason)
    assert found.ready is (state is VersionState.LOADED)
    assert is_applied(observed, WANTED, found, NOW) is (state is VersionState.LOADED)
    assert bool(found.versions[0].way_out) is (reason is not None)


def test_a_loaded_version_shows_its_fingerprint_and_effect_and_no_other_does() -> None:
    loaded, gone = status(seen(HOLDING, PROVEN)).versions[0], status(seen(EMPTY, PROVEN)).versions[0]
    assert (loaded.fingerprint, loaded.effect, loaded.loaded_at) == ([TOKEN], "0.2500", NOW)
    assert (gone.fingerprint, gone.effect, gone.loaded_at) == ([], None, None)


def test_a_failed_version_says_how_often_and_when_again() -> None:
    failed = status(seen(EMPTY, FAILED)).versions[0]
    assert (failed.failures, failed.retry_at, failed.findings) == (3, NOW + timedelta(seconds=60), [BAD])


def test_a_loaded_version_stays_loaded_while_its_files_are_looked_at_again() -> None:
    observed = seen(HOLDING, replace(PROVEN, checked="another basis"), fetching=ONE.name)
    assert status(observed).ready


def test_a_loaded_version_whose_new_uri_is_wrong_stays_loaded_and_says_so() -> None:
    failure = Failure(Stage.FETCH, BASIS, BAD, 1, NOW + timedelta(seconds=60))
    found = status(seen(HOLDING, replace(PROVEN, checked="another basis", failure=failure)))
    assert (found.ready, found.versions[0].state, found.versions[0].reason) == (True, VersionState.LOADED, "NoEffect")


def test_readiness_waits_for_required_versions_only() -> None:
    optional = version(2, required=False)
    found = status(seen(HOLDING, PROVEN), desired(ONE, optional))
    assert found.ready
    assert not is_applied(seen(HOLDING, PROVEN), desired(ONE, optional), found, NOW)


def test_nothing_wanted_yet_is_not_ready_and_nothing_wanted_any_more_is() -> None:
    assert not status(Observed(EMPTY, STORE), None).ready
    assert status(Observed(EMPTY, STORE), desired()).ready


def test_a_set_is_not_applied_while_an_old_version_is_in_the_engine() -> None:
    view = replace(HOLDING, models=(*HOLDING.models, listed(TWO)))
    assert not is_applied(seen(view, PROVEN), WANTED, status(seen(view, PROVEN)), NOW)


def test_an_unready_pod_says_what_it_waits_for() -> None:
    assert unready(status(seen(AWAY, CHECKED))).splitlines() == [
        "engine: it has not answered yet",
        f"{ONE.name}: Verified EngineUnreachable",
    ]


def test_a_status_survives_the_wire() -> None:
    for observed in (seen(HOLDING, PROVEN), seen(EMPTY, FAILED)):
        assert AgentStatus.from_json(status(observed).to_json()) == status(observed)
