"""What the agent does next, for every state of pod and engine."""

from dataclasses import replace
from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from finetune_inference.agent.decide import Cause, Fetch, Load, Plan, Prove, Unload, decide, leftovers
from finetune_inference.agent.knowledge import EngineView, Observed, Progress, Stage, basis_of
from finetune_inference.engine import ServedModel
from tests.unit.agent.worlds import BASE, NOW, STORE, World, desired, listed, version

ONE, TWO, THREE = version(1), version(2), version(3)


def test_before_anything_was_ever_wanted_nothing_is_done_and_nothing_unloaded() -> None:
    world = World(engine={ONE.name: listed(ONE).root or ""}, held={ONE.digest})
    assert decide(world.observed(), None, NOW) == Plan()


def test_versions_are_fetched_loaded_and_proven_in_order_each_once() -> None:
    world = World()
    world.settle(desired(ONE, TWO))
    assert [line for line in world.log if not line.startswith("fetch")] == [
        f"load {ONE.name}",
        f"prove {ONE.name}",
        f"load {TWO.name}",
        f"prove {TWO.name}",
    ]
    assert [line for line in world.log if line.startswith("fetch")] == [f"fetch {ONE.name}", f"fetch {TWO.name}"]


def test_files_are_fetched_while_the_engine_is_away_and_loaded_when_it_comes() -> None:
    world = World(reachable=False)
    world.settle(desired(ONE))
    assert world.log == [f"fetch {ONE.name}"]
    world.reachable = True
    world.settle(desired(ONE))
    assert world.log[1:] == [f"load {ONE.name}", f"prove {ONE.name}"]


def test_one_step_at_a_time_in_each_lane() -> None:
    wanted = desired(ONE, TWO)
    ready = Progress(checked=basis_of(ONE, wanted))
    busy = Observed(EngineView(reachable=True, models=(BASE,)), STORE, {ONE.name: ready}, fetching=TWO.name, loading=ONE.name)
    assert decide(busy, wanted, NOW) == Plan()


def test_a_version_is_never_in_both_lanes() -> None:
    wanted = desired(ONE)
    stale = {ONE.name: Progress(checked="another basis", proven="1")}
    view = EngineView(reachable=True, started="1", models=(BASE, listed(ONE)))
    assert isinstance(decide(Observed(view, STORE, stale), wanted, NOW).disk, Fetch)
    assert decide(Observed(view, STORE, stale, loading=ONE.name), wanted, NOW).disk is None
    current = {ONE.name: Progress(checked=basis_of(ONE, wanted))}
    assert decide(Observed(view, STORE, current, fetching=ONE.name), wanted, NOW).engine is None


def test_after_a_restart_of_the_engine_everything_is_loaded_and_proven_again() -> None:
    world = World()
    world.settle(desired(ONE, TWO))
    world.restart_engine()
    world.log.clear()
    first = decide(world.observed(), desired(ONE, TWO), NOW).engine
    assert isinstance(first, Load)
    assert first.cause is Cause.RESTART
    world.settle(desired(ONE, TWO))
    assert world.log == [f"load {ONE.name}", f"prove {ONE.name}", f"load {TWO.name}", f"prove {TWO.name}"]


def test_an_engine_that_restarted_and_lists_the_version_already_is_asked_for_proof_again() -> None:
    world = World()
    world.settle(desired(ONE))
    world.started = "2"
    assert isinstance(decide(world.observed(), desired(ONE), NOW).engine, Prove)


def test_a_version_that_vanished_is_loaded_again_and_counted_as_lost() -> None:
    world = World()
    world.settle(desired(ONE))
    world.engine.clear()
    step = decide(world.observed(), desired(ONE), NOW).engine
    assert isinstance(step, Load)
    assert step.cause is Cause.LOST


def test_a_name_with_files_from_elsewhere_is_replaced() -> None:
    world = World()
    world.settle(desired(ONE))
    world.engine[ONE.name] = "/elsewhere"
    step = decide(world.observed(), desired(ONE), NOW).engine
    assert isinstance(step, Load)
    assert step.cause is Cause.REPLACED


def test_what_replaces_a_version_comes_before_that_goes() -> None:
    world = World()
    world.settle(desired(ONE))
    world.log.clear()
    world.settle(desired(TWO, generation=2))
    assert world.log == [f"fetch {TWO.name}", f"load {TWO.name}", f"prove {TWO.name}", f"unload {ONE.name}", "collect"]


def test_a_full_engine_makes_room_first() -> None:
    world = World()
    world.settle(desired(ONE, slots=1))
    world.log.clear()
    world.settle(desired(TWO, generation=2, slots=1))
    steps = [line for line in world.log if line != "collect"]
    assert steps == [f"fetch {TWO.name}", f"unload {ONE.name}", f"load {TWO.name}", f"prove {TWO.name}"]
    assert world.most_listed == 1


def test_versions_beyond_the_slots_are_left_out() -> None:
    world = World()
    world.settle(desired(ONE, TWO, THREE, slots=2))
    assert list(world.engine) == [ONE.name, TWO.name]


def test_a_newcomer_never_takes_the_place_of_a_version_that_serves() -> None:
    world = World()
    world.settle(desired(TWO, THREE, slots=2))
    for _ in range(2):
        world.settle(desired(ONE, TWO, THREE, generation=2, slots=2))
        assert set(world.engine) == {TWO.name, THREE.name}
        world.restart_engine()


def test_a_version_that_fails_does_not_hold_up_the_others_and_waits_its_time() -> None:
    for stage in Stage:
        world = World(bad={ONE.name: stage})
        wanted = desired(ONE, TWO)
        world.settle(wanted)
        assert list(world.engine) == [TWO.name]
        plan = world.step(wanted)
        assert plan == Plan(wake_at=NOW + timedelta(seconds=2))
        world.now = plan.wake_at or NOW
        world.bad.clear()
        world.settle(wanted)
        assert set(world.engine) == {ONE.name, TWO.name}


def test_a_version_without_effect_is_taken_out_of_the_engine() -> None:
    world = World(bad={ONE.name: Stage.PROVE})
    world.settle(desired(ONE))
    assert world.log == [f"fetch {ONE.name}", f"load {ONE.name}", f"prove {ONE.name}", f"unload {ONE.name}"]
    assert world.engine == {}


def test_an_engine_that_refuses_to_unload_is_left_alone_with_it_and_loads_meanwhile() -> None:
    world = World()
    world.settle(desired(ONE, slots=1))
    wanted = desired(TWO, generation=2, slots=1)
    world.step(wanted)
    refused = replace(world.observed(), no_unload_before=NOW + timedelta(seconds=5))
    plan = decide(refused, wanted, NOW)
    assert isinstance(plan.engine, Load)
    assert plan.wake_at == NOW + timedelta(seconds=5)
    assert decide(refused, wanted, NOW + timedelta(seconds=5)).engine == Unload(ONE.name)


def test_a_changed_uri_makes_an_old_failure_count_no_more() -> None:
    world = World(bad={ONE.name: Stage.FETCH})
    world.settle(desired(ONE))
    world.bad.clear()
    world.log.clear()
    world.settle(desired(version(1, uri="pvc://adapters/corrected"), generation=2))
    assert world.log == [f"fetch {ONE.name}", f"load {ONE.name}", f"prove {ONE.name}"]


def test_a_version_past_its_time_goes_by_itself_and_the_agent_wakes_for_it() -> None:
    ending = version(1, keep_until=NOW + timedelta(hours=1))
    world = World()
    world.settle(desired(TWO, ending))
    plan = world.step(desired(TWO, ending))
    assert plan.wake_at == ending.keep_until
    assert ending.name in world.engine
    world.now = NOW + timedelta(hours=1)
    world.settle(desired(TWO, ending))
    assert list(world.engine) == [TWO.name]
    assert world.held == {TWO.digest}


def test_nothing_is_loaded_beside_another_base_model() -> None:
    wanted = desired(ONE)
    view = EngineView(reachable=True, models=(ServedModel("another", "/models/another"),))
    observed = Observed(view, STORE, {ONE.name: Progress(checked=basis_of(ONE, wanted))})
    assert decide(observed, wanted, NOW).engine is None


def test_only_our_versions_from_our_store_are_left_over() -> None:
    models = (
        BASE,
        listed(ONE),
        listed(TWO),
        listed(THREE, "/elsewhere/x"),
        ServedModel("handmade", str(STORE / "x"), "base"),
    )
    view = EngineView(reachable=True, models=models)
    assert leftovers(view, STORE, desired(ONE), NOW) == (TWO.name,)


def test_files_of_a_listed_adapter_stay_because_an_engine_may_read_them_again() -> None:
    world = World()
    world.settle(desired(ONE))
    observed = replace(world.observed(), held=frozenset({ONE.digest, TWO.digest}))
    keep = decide(observed, desired(generation=2), NOW)
    assert keep.engine == Unload(ONE.name)
    assert keep.disk is not None
    assert ONE.digest in keep.disk.keep


NUMBERS = st.lists(st.integers(0, 6), unique=True, max_size=5)


@given(
    before=NUMBERS, after=NUMBERS, bad=st.dictionaries(st.integers(0, 6), st.sampled_from(Stage)), slots=st.integers(1, 5), data=st.data()
)
def test_from_any_state_the_engine_ends_with_exactly_what_is_wanted_and_nothing_is_loaded_twice(
    before: list[int], after: list[int], bad: dict[int, Stage], slots: int, data: st.DataObject
) -> None:
    world = World()
    for _ in range(data.draw(st.integers(0, 12))):
        world.step(desired(*map(version, before), slots=slots))
    if data.draw(st.booleans()):
        world.restart_engine()
    world.log.clear()
    already = set(world.engine)
    world.bad = {version(number).name: stage for number, stage in bad.items()}
    wanted = desired(*map(version, after), generation=2, slots=slots)
    world.settle(wanted)
    names, good = {version(number).name for number in after}, {version(number).name for number in after if number not in bad}
    assert set(world.engine) <= names
    assert len(world.engine) <= slots
    assert good <= set(world.engine) or len(after) > slots
    assert not {f"unload {name}" for name in good & already} & set(world.log)
    loads = [line for line in world.log if line.startswith("load")]
    assert len(loads) == len(set(loads))
    assert world.held <= {version(number).digest for number in after}
