"""The table of a namespace, from its objects."""

from typing import Any

import pytest

from finetune_inference.contract import Endpoint, Route, RouteTable
from finetune_inference.kubernetes.selection import Selection, pods
from finetune_inference.router import deployments
from finetune_inference.router.deployments import MANAGED, Assembly, Pod, assemble, deployment, pod

V = "a--aaaaaaaaaaaa"
HERE = "team-a"
SERVERS = pods(HERE, MANAGED)


def found(name: str, *, alias: str = "", created: int = 1, external: dict[str, Any] | None = None, **route: Any) -> dict[str, Any]:
    """An AdapterDeployment as the API server gives it; with an alias it has a route."""
    server = {"external": external} if external else {"managed": {"engine": "vLLM"}}
    status = {"route": {"deployment": name, "alias": alias, "generation": 1, "stable": V, "versions": [V], **route}} if alias else {}
    metadata = {"name": name, "creationTimestamp": f"2026-01-01T00:00:{created:02}Z"}
    return {"metadata": metadata, "spec": {"server": server}, "status": {"phase": "Healthy", **status}}


def running(name: str, address: str | None = "10.0.0.1", deployment: str | None = "a", **changes: Any) -> dict[str, Any]:
    metadata = {"name": name, "labels": {deployments.DEPLOYMENT_LABEL: deployment} if deployment else {}, **changes}
    return {"metadata": metadata, "status": {"phase": "Running", "podIP": address} if address else {"phase": "Pending"}}


def table(*objects: dict[str, Any], before: RouteTable | None = None, **pods_of: Any) -> Assembly:
    known = pods_of.get("known", {SERVERS: []})
    return assemble(HERE, [deployment(one) for one in objects], known, before)


def test_routes_and_managed_pods_become_a_table():
    servers = {SERVERS: [pod(running("a-1", "10.0.0.2")), pod(running("a-0")), pod(running("b-0", "10.0.0.3", "b"))]}
    assembly = table(found("a", alias="tickets"), found("no-route-yet"), known=servers)
    assert assembly.problems == ()
    assert assembly.table == RouteTable(
        namespace=HERE,
        routes=[Route(deployment="a", alias="tickets", generation=1, stable=V, versions=[V])],
        endpoints=[
            Endpoint(deployment="a", pod="a-0", url="http://10.0.0.1:8000"),
            Endpoint(deployment="a", pod="a-1", url="http://10.0.0.2:8000"),
        ],
    )


def test_external_pods_are_those_of_the_labels_at_their_port():
    one = deployment(found("mine", alias="x", external={"matchLabels": {"tier": "gpu", "app": "vllm"}, "port": 9000}))
    selection = one.pods(HERE)
    assert selection == Selection("pods", f"/api/v1/namespaces/{HERE}/pods", labels="app=vllm,tier=gpu")
    assembly = assemble(HERE, [one], {selection: [pod(running("v-0", "fd00::7", None))], SERVERS: [pod(running("x"))]}, None)
    assert assembly.table.endpoints == [Endpoint(deployment="mine", pod="v-0", url="http://[fd00::7]:9000")]


@pytest.mark.parametrize(
    "left_out",
    [
        running("p", None),
        running("p", deletionTimestamp="2026-01-01T00:00:00Z"),
        {**running("p"), "status": {"phase": "Succeeded", "podIP": "10.0.0.1"}},
        {**running("p"), "status": {"phase": "Failed", "podIP": "10.0.0.1"}},
    ],
    ids=["no address", "terminating", "ended", "failed"],
)
def test_a_pod_that_nobody_can_ask_is_left_out(left_out: dict[str, Any]):
    assert pod(left_out).address is None
    assert table(found("a", alias="x"), known={SERVERS: [pod(left_out)]}).table.endpoints == []


def test_a_pod_need_not_be_ready():
    assert pod({**running("p"), "status": {"phase": "Pending", "podIP": "10.0.0.1"}}) == Pod("p", "10.0.0.1", "a")


def test_external_without_labels_selects_nobody():
    one = deployment(found("mine", alias="x", external={"matchLabels": {}, "port": 9000}))
    assert assemble(HERE, [one], {one.pods(HERE): [pod(running("v-0", deployment=None))]}, None).table.endpoints == []


def test_a_broken_route_is_said_keeps_its_last_good_one_and_takes_nobody_down():
    before = table(found("bad", alias="x"), found("good", alias="y")).table
    broken = found("bad", alias="x", weight=5)
    assembly = table(broken, found("good", alias="y", generation=2), before=before)
    assert [(route.alias, route.generation, route.weight) for route in assembly.table.routes] == [("x", 1, 0), ("y", 2, 0)]
    assert assembly.problems == ("bad: status.route: Value error, weight and shadow need a canary; its last good route stays",)
    fresh = table(broken, found("good", alias="y"))
    assert [route.alias for route in fresh.table.routes] == ["y"]
    assert fresh.problems[0].endswith("it has no route")


def test_a_problem_names_the_field_and_no_value():
    (problem,) = table(found("bad", alias="x", generation="hidden")).problems
    assert problem.startswith("bad: status.route.generation: ")
    assert "hidden" not in problem


def test_a_route_of_another_object_is_refused():
    (problem,) = table(found("a", alias="x", deployment="b")).problems
    assert "status.route.deployment" in problem


@pytest.mark.parametrize("order", [1, -1])
def test_of_two_with_one_alias_the_older_has_it(order: int):
    pair = [found("young", alias="x", created=2), found("old", alias="x", created=1)][::order]
    assembly = table(*pair, found("other", alias="y"))
    assert [route.deployment for route in assembly.table.routes] == ["old", "other"]
    assert assembly.problems == ("young: x is answered for by old, which is older; it has no route",)


def test_a_route_that_is_taken_away_is_gone():
    before = table(found("a", alias="x")).table
    assert table(found("a"), before=before).table.routes == []
    assert table(before=before).table.routes == []


def test_pods_that_cannot_be_listed_are_those_of_before():
    servers = {SERVERS: [pod(running("a-0"))]}
    before = table(found("a", alias="x"), known=servers).table
    assert table(found("a", alias="x", generation=2), known={}, before=before).table.endpoints == before.endpoints
    assert table(found("a", alias="x"), known={SERVERS: []}, before=before).table.endpoints == []


def test_equal_objects_in_another_order_are_an_equal_table():
    objects = [found(name, alias=name, created=number) for number, name in enumerate("cab")]
    servers = [pod(running(f"{name}-{number}", deployment=name)) for name in "abc" for number in range(2)]
    assert table(*objects, known={SERVERS: servers}) == table(*objects[::-1], known={SERVERS: servers[::-1]})


def test_more_than_a_table_holds_is_said_and_the_oldest_stay():
    objects = [found(f"d{number}", alias=f"d{number}", created=number // 10) for number in range(deployments.MAX_ROUTES + 1)]
    assembly = table(*objects)
    assert len(assembly.table.routes) == deployments.MAX_ROUTES
    assert len(assembly.problems) == 1
    servers = [pod(running(f"a-{number}")) for number in range(deployments.MAX_ENDPOINTS + 1)]
    crowded = table(found("a", alias="x"), known={SERVERS: servers})
    assert len(crowded.table.endpoints) == deployments.MAX_ENDPOINTS
    assert "4097 server pods" in crowded.problems[0]


@pytest.mark.parametrize("odd", [{}, {"spec": None, "status": None}, {"spec": {"server": None}, "status": {"route": []}}])
def test_whatever_an_object_holds_it_is_read(odd: dict[str, Any]):
    assert deployment({"metadata": {"name": "odd"}, **odd}).route is None
