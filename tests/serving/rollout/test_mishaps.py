"""What goes wrong around a rollout: silent routers, lost pods, no traffic, no room, two owners of one alias, and deletion."""

from datetime import timedelta

import pytest

from finetune_operator.domain.rollout.observed import JobArtifact, JobStanding, Sibling
from tests.serving.rollout.world import ALIAS, NOON, ONE, THREE, TWO, Behaviour, World, baking, serving, spec, version, with_truth


def test_the_bake_begins_when_the_last_router_has_acknowledged():
    world = serving()
    world.routers["router-1"].lags = True
    world.publish(TWO)
    world.run(300)
    assert world.rollout["stage"] == "Applying"
    assert world.condition("TrafficApplied")[:2] == ("False", "Applying")
    world.routers["router-1"].lags = False
    world.tick()
    assert world.rollout["stage"] == "Baking"
    assert world.rollout["stageSince"] == world.now.strftime("%Y-%m-%dT%H:%M:%SZ")


@pytest.mark.parametrize("flaw", ["lags", "silent", "unreadable"])
def test_a_router_that_cannot_be_asked_lets_nothing_pass_and_nothing_fail(flaw: str):
    world = baking(2)
    setattr(world.routers["router-1"], flaw, True)
    if flaw == "lags":
        world.change(stickiness__header="x-session")  # a new route, which this router does not see
    world.run(300)
    assert world.rollout["step"] == 2
    world.run(600)
    assert world.condition("Ready")[1] == "InsufficientData"
    assert "router-1" in world.condition("Ready")[2]
    setattr(world.routers["router-1"], flaw, False)
    world.run(20)
    assert world.rollout["step"] == 3


def test_the_bake_does_not_begin_while_a_routers_metrics_cannot_be_read():
    world = serving()
    world.routers["router-0"].unreadable = True
    world.publish(TWO)
    world.run(100)
    assert world.rollout["stage"] == "Applying"


GONE = "spec.analysis.provider: Prometheus gives no counters"


def test_a_prometheus_that_is_away_before_the_bake_is_named_and_no_deadline_takes_the_canary_back():
    world = serving(progressDeadlineSeconds=300, analysis={"provider": "Prometheus"})
    lose(world, GONE)
    world.publish(TWO)
    world.run(900)
    assert world.rollout["stage"] == "Applying"
    assert world.condition("Ready") == ("False", "MetricsUnavailable", GONE)
    assert world.condition("AnalysisPassing") == ("Unknown", "MetricsUnavailable", GONE)
    lose(world, "")
    world.run(20)
    assert world.rollout["stage"] == "Baking"


@pytest.mark.parametrize("policy", ["Pause", "Fail", "Probe"])
def test_a_prometheus_that_is_lost_in_a_bake_is_not_held_against_the_canary(policy: str):
    world = baking(2)
    world.change(analysis__provider="Prometheus", analysis__onInsufficientData=policy)
    lose(world, GONE)
    world.run(10)
    assert world.condition("Ready")[:2] == ("False", "MetricsUnavailable")
    writes = len(world.writes)
    world.run(7200)
    assert len(world.writes) - writes <= 3, "the words stay, so nothing is written"
    assert (world.rollout["step"], world.probed) == (2, {})
    assert world.condition("AnalysisPassing") == ("Unknown", "MetricsUnavailable", GONE)
    assert world.condition("Ready")[2] == GONE, "which says what to do, once"
    lose(world, "")
    world.run(20)
    assert world.rollout["step"] == 3


def test_a_prometheus_that_fails_for_another_reason_meanwhile_is_told_with_the_latest():
    world = baking(2)
    world.change(analysis__provider="Prometheus")
    lose(world, GONE)
    world.run(10)
    lose(world, "spec.analysis.provider: Prometheus answers 401")
    world.run(20)
    assert "401" in world.condition("Ready")[2]


def test_counters_that_prometheus_never_has_are_told_though_it_gives_no_error():
    world = serving(analysis={"provider": "Prometheus"})
    world.routers["router-0"].unreadable = True
    world.publish(TWO)
    world.run(120)
    assert world.condition("Ready")[1] != "MetricsUnavailable", "the first scrape may take a minute"
    world.run(120)
    assert world.rollout["stage"] == "Applying"
    assert world.condition("Ready")[1] == "MetricsUnavailable"
    assert "scraped" in world.condition("Ready")[2]


def lose(world: World, unread: str) -> None:
    """Without Prometheus no router's counters are there."""
    world.unread = unread
    for router in world.routers.values():
        router.unreadable = bool(unread)


def test_without_any_router_nothing_is_promoted():
    world = World(routers=0)
    world.run(60)
    assert world.stable == ""
    assert world.condition("Ready")[0] == "False"


def test_routers_that_never_acknowledge_end_the_rollout_after_its_deadline():
    world = serving(progressDeadlineSeconds=300)
    world.routers["router-1"].lags = True
    world.publish(TWO)
    world.run(360)
    assert world.phase == "RollingBack", "the canary is out of the route, but a router still has to say so"
    world.routers["router-1"].lags = False
    world.run(20)
    assert world.condition("Ready")[1] == "DeadlineExceeded"
    assert "router-1" in world.condition("Ready")[2]


def test_a_router_that_restarts_during_a_bake_counts_from_zero_and_the_rollout_goes_on():
    world = baking(3)
    world.run(30)
    world.restart("router-0")
    world.run_until("Retaining")
    assert world.stable == version(TWO)


def test_a_router_that_took_the_canarys_traffic_away_ends_it():
    world = baking(3)
    world.routers["router-1"].breaker_open = True
    world.tick()
    world.routers["router-1"].breaker_open = False
    world.run_until("Degraded")
    assert world.condition("Ready")[1] == "BreakerOpen"


def test_pods_that_never_load_end_the_rollout_after_its_deadline_and_are_named():
    world = serving(progressDeadlineSeconds=300)
    world.slow_pods = {"server-2"}
    world.publish(TWO)
    world.run(360)
    assert world.condition("Ready")[1] == "DeadlineExceeded"
    assert "server-2" in world.condition("Ready")[2]
    assert all(canary is None for _, canary in world.weights)


def test_no_caller_gets_the_canary_before_every_pod_holds_it():
    world = serving()
    world.slow_pods = {"server-2"}
    world.publish(TWO)
    world.run(120)
    assert world.phase == "Loading"
    assert world.status is not None
    assert world.status["loaded"] == "2/3"
    world.slow_pods = set()
    world.run(20)
    assert world.phase == "Progressing"


def test_the_bake_clock_stands_still_while_a_pod_comes_back():
    world = baking(3)
    world.slow_pods = {"server-0"}
    world.pods["server-0"].clear()
    world.run(600)
    assert world.rollout["step"] == 3
    assert world.condition("Ready")[1] == "Loading"
    world.slow_pods = set()
    world.run(30)
    assert world.rollout["step"] == 3
    world.run(60)
    assert world.rollout["step"] == 4


def test_a_bake_that_waits_for_a_pod_says_what_keeps_it_and_has_no_end_of_its_own():
    world = baking(3, progressDeadlineSeconds=60)
    world.pods["server-3"] = {}
    world.slow_pods = {"server-3"}
    world.run(20)
    assert world.condition("Ready")[1] == "Loading"
    world.troubles["server-3"] = "it is not scheduled: 0/2 nodes are available"
    world.run(20)
    message, written = world.condition("Ready")[2], len(world.writes)
    assert "pod server-3" in message
    assert "0/2 nodes are available" in message
    world.run(1000)
    assert len(world.writes) == written, "the same trouble is told once"
    assert world.rollout["step"] == 3, "a replica more says nothing against the canary"
    world.truth[version(TWO)] = Behaviour(errors=0.5)
    world.run_until("Degraded")
    assert world.condition("Ready")[1] == "RolledBack", "but its checks go on"


def test_a_pod_that_cannot_run_is_named_while_a_version_is_loaded():
    world = serving()
    world.pods["server-3"], world.slow_pods = {}, {"server-3"}
    world.troubles["server-3"] = "container engine waits: ImagePullBackOff"
    world.publish(TWO)
    world.run(30)
    reason, message = world.condition("Ready")[1:]
    assert reason == "Loading"
    assert "pod server-3" in message
    assert "ImagePullBackOff" in message


def test_pods_that_an_autoscaler_adds_are_counted_and_count_as_loaded_once_they_hold_the_version():
    world = serving()
    world.pods |= {"server-3": {}, "server-4": {}}
    world.slow_pods = {"server-3", "server-4"}
    world.run(30)
    assert world.status is not None
    assert [world.status[figure] for figure in ("loaded", "replicas", "readyReplicas")] == ["3/5", 5, 3]
    assert world.condition("Available")[0] == world.condition("Ready")[0] == "True", "those that were there answer"
    assert world.condition("Loaded")[0] == "False"
    world.slow_pods = set()
    world.run(30)
    assert [world.status[figure] for figure in ("loaded", "replicas", "readyReplicas")] == ["5/5", 5, 5]
    assert world.condition("Loaded")[0] == "True"


def test_without_a_pod_that_holds_stable_the_alias_is_not_available():
    world = serving()
    world.slow_pods = set(world.pods)
    for held in world.pods.values():
        held.clear()
    world.tick()
    assert world.condition("Available")[:2] == ("False", "NotServing")
    assert world.condition("Ready")[:2] == ("False", "NotServing")
    assert world.route["stable"] == version(ONE), "never silently another one"


def test_without_server_pods_nothing_is_loaded_and_the_message_says_so():
    world = World(pods=0)
    world.run(60)
    assert world.condition("Ready")[1] == "NoPods"


@pytest.mark.parametrize(("policy", "reason"), [("Pause", "InsufficientData"), ("Fail", "InsufficientData")])
def test_without_requests_a_step_pauses_or_fails_as_the_policy_says(policy: str, reason: str):
    world = serving(analysis__onInsufficientData=policy)
    world.rate = 0.0
    world.publish(TWO)
    world.run(900)
    assert world.condition("Ready")[1] == reason
    assert "are needed to tell" in world.condition("Ready")[2]
    if policy == "Fail":
        assert world.phase == "Degraded"
        return
    assert world.phase == "Paused"
    written = len(world.writes)
    world.run(300)
    assert len(world.writes) == written
    world.rate = 40.0
    world.run_until("Retaining")
    assert world.stable == version(TWO)


@pytest.mark.parametrize("policy", ["Pause", "Fail", "Probe"])
def test_a_router_that_cannot_be_scraped_neither_passes_nor_speaks_against_the_canary(policy: str):
    world = baking(2, analysis__onInsufficientData=policy)
    world.routers["router-1"].unreadable = True
    passing = set()
    for _ in range(200):
        world.tick()
        assert world.rollout.get("step", 2) == 2, "the other router's good figures are not the whole"
        passing.add(world.condition("AnalysisPassing")[1])
    assert world.stable == version(ONE)
    assert "AnalysisFailed" not in passing
    assert world.condition("Ready")[1] == "InsufficientData"
    assert "router-1" in world.condition("Ready")[2]
    assert world.phase == "Paused", "what cannot be read is no lack of requests: no policy takes the canary back for it"
    assert "failedVersions" not in (world.status or {})


def test_without_requests_probes_complete_errors_and_latencies():
    checks = {"errors": {}, "ttft": {"maxSeconds": "3"}, "itl": {"maxSeconds": "3"}}
    steps = [{"weight": 10, "bakeSeconds": 30}]
    world = serving(analysis__onInsufficientData="Probe", analysis__checks=checks, strategy__canary__steps=steps)
    world.rate = 0.0
    world.publish(TWO)
    world.run(700)
    assert ("Normal", "Probing") in world.events
    assert set(world.probed) == {version(ONE), version(TWO)}
    assert max(world.probed.values()) <= 100
    world.run_until("Retaining")
    assert world.stable == version(TWO)


@pytest.mark.parametrize(
    ("text", "why", "told", "message"),
    [
        (None, "cannot be read: there is no such ConfigMap in this namespace", None, "there is no such ConfigMap"),
        (None, "cannot be read: the ConfigMap has no such key under data, or nothing in it", None, "no such key under data"),
        ("x" * 65_537, "", None, "has 65537 characters, and 65536 are the most"),
        ("{", "", "the output schema is not JSON", "the output schema is not JSON"),
    ],
)
def test_a_schema_that_cannot_be_used_holds_the_step_and_nothing_is_held_against_the_canary(
    text: str | None, why: str, told: str | None, message: str
):
    steps = [{"weight": 10, "bakeSeconds": 30}]
    world = serving(analysis__onInsufficientData="Fail", analysis__maxWaitSeconds=120, strategy__canary__steps=steps)
    world.schema, world.schema_problem = text, why
    for router in world.routers.values():
        router.schema_problem = told
    world.publish(TWO)
    world.run(900)
    assert world.condition("Ready")[1] == "SchemaUnusable"
    assert "spec.analysis.checks.schema.configMapRef: key schema.json of ConfigMap tickets" in world.condition("Ready")[2]
    assert message in world.condition("Ready")[2]
    assert "Put a JSON Schema" in world.condition("Ready")[2]
    assert world.condition("AnalysisPassing")[:2] == ("Unknown", "SchemaUnusable"), "what cannot be checked has not passed"
    assert message in world.condition("AnalysisPassing")[2]
    assert world.status is not None
    assert "failedVersions" not in world.status
    world.schema, world.schema_problem = '{"type": "array"}', ""
    for router in world.routers.values():
        router.schema_problem = None
    world.run_until("Retaining")
    assert world.stable == version(TWO)


def test_without_a_schema_a_canary_that_fails_requests_is_taken_back_all_the_same():
    world = with_truth(serving(strategy__canary__steps=[{"weight": 10, "bakeSeconds": 30}]), TWO, errors=0.5)
    world.schema = None
    world.publish(TWO)
    world.run_until("Degraded")
    assert world.condition("Ready")[1] == "RolledBack"


def test_a_step_that_does_not_look_at_answers_needs_no_schema():
    world = serving(strategy__canary__steps=[{"weight": 10, "bakeSeconds": 30, "analysis": ["Errors"]}])
    world.schema = None
    world.publish(TWO)
    world.run_until("Retaining")


def test_probes_that_cannot_be_sent_are_said_while_the_step_bakes_and_hold_it_at_once():
    steps = [{"weight": 10, "bakeSeconds": 30, "analysis": ["Errors"]}]
    world = serving(analysis__onInsufficientData="Probe", analysis__maxWaitSeconds=120, strategy__canary__steps=steps)
    world.rate, world.may_probe = 0.0, False
    world.publish(TWO)
    world.run(60)
    assert world.rollout["stage"] == "Baking"
    assert "choose Pause or Fail" in world.condition("Ready")[2]
    world.run(100)
    assert world.condition("Ready")[1] == "InsufficientData"
    for part in ("spec.analysis.onInsufficientData is Probe", "serving.pinSecret", "--rollout-pin-token-file"):
        assert part in world.condition("Ready")[2]
    assert ("Normal", "Probing") not in world.events
    world.may_probe = True
    world.run_until("Retaining")
    assert world.stable == version(TWO), "with a token it goes on by itself"


def test_probes_find_a_bad_canary_without_a_single_user():
    steps = [{"weight": 10, "bakeSeconds": 30, "analysis": ["Errors"]}]
    world = with_truth(serving(analysis__onInsufficientData="Probe", strategy__canary__steps=steps), TWO, errors=0.5)
    world.rate = 0.0
    world.publish(TWO)
    world.run_until("Degraded")
    assert world.condition("Ready")[1] == "RolledBack"


def test_a_rollout_that_needs_more_room_than_the_engine_has_waits_with_the_numbers():
    neighbours = (Sibling("other", "u2", "other", NOON, versions=7),)
    external = {"matchLabels": {"app": "mine"}, "adapterMountPath": "/adapters"}
    world = World(spec(server={"external": external, "capacity": {"maxCpuLoras": 8, "maxLoras": 4}}))
    world.siblings = neighbours
    world.run_until("Healthy")
    world.publish(TWO)
    world.run(60)
    assert world.condition("Ready")[1] == "WaitingForCapacity"
    assert "9 on each pod (1 of this object, 7 of others)" in world.condition("Ready")[2]
    world.siblings = ()
    world.run_until("Retaining")


def test_a_rollout_that_would_make_versions_wait_for_each_others_batches_waits_with_the_numbers():
    external = {"external": {"matchLabels": {"app": "mine"}, "adapterMountPath": "/a"}, "capacity": {"maxCpuLoras": 8, "maxLoras": 4}}
    world = World(spec(server=external))
    world.siblings = (Sibling("other", "u2", "other", NOON, versions=4, answering=2), Sibling("third", "u3", "third", NOON, 1, 1))
    world.run_until("Healthy")
    world.publish(TWO)
    world.run(60)
    assert world.condition("Ready")[1] == "WaitingForCapacity"
    assert "5 with traffic on each pod (1 of this object, 3 of others)" in world.condition("Ready")[2]
    world.siblings = (Sibling("other", "u2", "other", NOON, versions=4, answering=1), Sibling("third", "u3", "third", NOON, 1, 1))
    world.run_until("Retaining")
    assert world.stable == version(TWO)


def test_of_two_deployments_with_one_alias_the_older_one_has_it():
    world = World()
    world.siblings = (Sibling("first", "u2", ALIAS, NOON - timedelta(hours=5)),)
    world.run(60)
    assert world.condition("Ready")[1] == "AliasTaken"
    assert "AdapterDeployment first" in world.condition("Accepted")[2]
    assert world.status is not None
    assert "route" not in world.status
    world.siblings = (Sibling("later", "u2", ALIAS, NOON),)
    world.run_until("Healthy")


def test_a_job_without_an_artifact_is_waited_for():
    world = World()
    world.job = None
    world.run(60)
    assert world.condition("Ready")[1] == "WaitingForArtifact"
    assert "it is Training" in world.condition("Ready")[2]
    assert world.condition("Stalled")[0] == "False"
    written = len(world.writes)
    world.run(600)
    assert len(world.writes) == written, "waiting costs nothing"
    world.publish(ONE)
    world.run_until("Healthy")


NO_ARTIFACT = {
    "no such job": (None, "JobNotFound", ("there is no FineTuneJob", "in this namespace", "Create it, or correct the name.")),
    "the gate was not passed": (
        JobStanding("Rejected", True, "GateRejected", "SchemaCompliance 0.71, 0.02 above the base model. Change data."),
        "GateNotPassed",
        ("GateRejected: SchemaCompliance 0.71", "Another run is needed."),
    ),
    "the gate could not tell": (
        JobStanding("Held", True, "GateInconclusive", "About 80 items would decide"),
        "GateNotPassed",
        ("GateInconclusive: About 80 items would decide.", "Another run is needed."),
    ),
    "the run failed": (
        JobStanding("Failed", True, "DataRejected", "spec.dataset.inline.uri: there is no such path."),
        "JobFailed",
        ("DataRejected: spec.dataset.inline.uri", "In the job: Correct the data or the field the message names"),
    ),
    "a newer operator's word": (
        JobStanding("Failed", True, "NeverHeardOf"),
        "JobFailed",
        ("changes it: NeverHeardOf. In the job: look at its condition Stalled.",),
    ),
}


@pytest.mark.parametrize("case", NO_ARTIFACT)
def test_a_job_that_offers_nothing_by_itself_is_a_persons_matter(case: str):
    standing, reason, words = NO_ARTIFACT[case]
    world = World()
    world.job, world.standing = None, standing
    world.run(60)
    assert world.condition("Stalled")[:2] == ("True", reason)
    status, told, message = world.condition("Ready")
    assert (status, told) == ("False", reason)
    assert message.startswith("spec.adapter.fineTuneJobRef.name: ")
    assert [word for word in words if word not in message] == []
    world.standing = JobStanding("Training")
    world.run(20)
    assert (world.condition("Ready")[1], world.condition("Stalled")[0]) == ("WaitingForArtifact", "False")
    world.publish(ONE)
    world.run_until("Healthy")


def test_a_deleted_job_takes_nothing_from_what_serves():
    world = serving()
    world.job = world.standing = None
    world.run(20)
    assert world.condition("Ready")[1] == "JobNotFound"
    assert f"Until then {version(ONE)} answers" in world.condition("Ready")[2]
    assert world.condition("Available")[0] == "True"


def test_a_pinned_digest_waits_for_that_very_artifact():
    world = World(spec(adapter={"fineTuneJobRef": {"name": "x"}, "digest": TWO}))
    world.run(30)
    assert world.condition("Ready")[1] == "WaitingForArtifact"
    world.publish(TWO)
    world.run_until("Healthy")


def test_what_no_gate_has_passed_is_refused_before_any_pod_is_touched():
    world = World(spec(adapter={"uri": "pvc://adapters/hot", "digest": TWO}))
    world.run(60)
    assert world.condition("Accepted")[:2] == ("False", "NotEvaluated")
    assert "requireEvaluation" in world.condition("Ready")[2]
    assert world.loaded() == set()
    ungated = World()
    ungated.job = JobArtifact("pvc://adapters/x", ONE, gated=False)
    ungated.run(30)
    assert ungated.condition("Ready")[1] == "NotEvaluated"


@pytest.mark.parametrize("way", ["evaluated", "not required"])
def test_a_uri_is_served_if_a_gate_has_passed_or_none_is_asked_for(way: str):
    world = World(spec(adapter={"uri": "pvc://adapters/hot", "digest": TWO}, preflight__requireEvaluation=way == "evaluated"))
    world.evaluated = frozenset({TWO})
    world.run_until("Healthy")
    assert world.stable == version(TWO)


def test_an_invalid_spec_leaves_everything_as_it_is():
    world = serving()
    route = world.route
    world.change(analysis__minRequests="many")
    world.run(60)
    assert world.condition("Ready")[1] == "InvalidSpec"
    assert "minRequests" in world.condition("Accepted")[2]
    assert world.route == route
    world.change(analysis__minRequests=50)
    world.tick()
    assert world.condition("Ready")[0] == "True"


def test_a_failing_first_version_leaves_the_alias_off():
    world = World(spec(progressDeadlineSeconds=60))
    world.slow_pods = set(world.pods)
    world.run(120)
    assert world.condition("Ready")[1] == "DeadlineExceeded"
    assert world.status is not None
    assert "route" not in world.status
    world.slow_pods = set()
    world.publish(TWO)
    world.tick()
    world.run_until("Healthy")


# deletion


def test_deleting_turns_the_alias_off_waits_for_open_requests_and_unloads():
    world = serving()
    world.routers["router-0"].open_requests = 2
    world.deleted = True
    world.run(30)
    assert "stable" not in world.route
    assert world.loaded() == {version(ONE)}
    assert not world.released
    world.routers["router-0"].open_requests = 0
    world.run(20)
    assert world.loaded() == set()
    assert world.released


@pytest.mark.parametrize("dead", ["routers", "pods"])
def test_deleting_ends_in_time_though_nobody_answers(dead: str):
    world = baking(3)
    for process in world.routers.values():
        process.silent = process.silent or dead == "routers"
    world.slow_pods = set(world.pods) if dead == "pods" else set()
    world.deleted = True
    world.run(40)
    assert not world.released
    world.run(120)
    assert world.released


def test_deleting_what_never_served_is_done_at_once():
    world = World()
    world.job = None
    world.tick()
    world.deleted = True
    world.tick()
    assert world.released


def test_deleting_an_object_whose_status_cannot_be_read_is_let_go():
    world = World()
    world.status = {"history": "gone"}
    assert [event.type for event in world.decide().events] == ["Warning"]
    world.deleted = True
    assert world.decide().release


def test_of_three_versions_published_in_a_row_only_the_last_is_rolled_out_after_the_first():
    world = baking(2)
    world.publish(THREE)
    world.tick()
    world.publish(TWO)
    world.run_until("Healthy", most=800)
    assert world.stable == version(TWO)
