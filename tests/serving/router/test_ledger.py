"""A generation is acknowledged when every worker applies it."""

from finetune_inference.contract import Route, RouteTable
from finetune_inference.router.ledger import Ledger, State
from finetune_inference.router.messages import InFlight, Report

STABLE, CANARY = "a--aaaaaaaaaaaa", "a--bbbbbbbbbbbb"


def state(generation: int, opened: frozenset[tuple[str, int]] = frozenset()) -> State:
    route = Route(deployment="dep", alias="a", generation=generation, stable=STABLE, canary=CANARY, weight=40, versions=[STABLE, CANARY])
    return State(RouteTable(routes=[route]), opened)


def report(applied: int, *, serving: bool = True, open_requests: int = 0) -> Report:
    in_flight = (InFlight(deployment="dep", version=CANARY, requests=open_requests),) if open_requests else ()
    return Report(applied=applied, serving=serving, in_flight=in_flight)


def generations(ledger: Ledger) -> list[int]:
    return [route.generation for route in ledger.acknowledgement("r", "p", None).routes]


def test_the_slowest_worker_decides():
    ledger = Ledger()
    first = ledger.publish(state(1))
    ledger.greeted(0)
    ledger.greeted(1)
    second = ledger.publish(state(2))
    assert generations(ledger) == []
    ledger.heard(0, report(second))
    ledger.heard(1, report(first))
    assert generations(ledger) == [1]
    ledger.heard(1, report(second))
    assert generations(ledger) == [2]


def test_a_worker_that_does_not_serve_yet_is_not_waited_for():
    ledger = Ledger()
    number = ledger.publish(state(1))
    ledger.heard(0, report(number))
    ledger.heard(1, report(0, serving=False))
    assert generations(ledger) == [1]


def test_without_any_worker_the_last_acknowledgement_stays():
    ledger = Ledger()
    ledger.heard(0, report(ledger.publish(state(1))))
    ledger.publish(state(2))
    ledger.lost(0)
    assert generations(ledger) == [1]


def test_a_lost_worker_holds_nothing_up():
    ledger = Ledger()
    first = ledger.publish(state(1))
    ledger.heard(0, report(first))
    ledger.heard(1, report(first))
    ledger.heard(0, report(ledger.publish(state(2))))
    assert generations(ledger) == [1]
    ledger.lost(1)
    assert generations(ledger) == [2]


def test_an_open_breaker_is_a_weight_of_zero():
    ledger = Ledger()
    ledger.heard(0, report(ledger.publish(state(1, frozenset({("a", 1)})))))
    (route,) = ledger.acknowledgement("r", "p", None).routes
    assert (route.weight, route.breaker_open) == (0, True)


def test_open_requests_are_summed():
    ledger = Ledger()
    number = ledger.publish(state(1))
    ledger.heard(0, report(number, open_requests=2))
    ledger.heard(1, report(number, open_requests=3))
    assert ledger.acknowledgement("r", "p", None).routes[0].in_flight == {CANARY: 5}


def test_old_tables_are_forgotten():
    ledger = Ledger()
    for generation in range(1, 50):
        ledger.heard(0, report(ledger.publish(state(generation))))
    assert len(ledger.states) == 1


def test_a_schema_that_cannot_be_used_is_acknowledged_with_its_route():
    ledger = Ledger()
    number = ledger.publish(State(state(1).table, problems={"a": "the output schema is not JSON"}))
    ledger.heard(0, report(number))
    (applied,) = ledger.acknowledgement("r", "p", None).routes
    assert applied.schema_problem == "the output schema is not JSON"
