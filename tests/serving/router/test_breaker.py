"""The local breaker."""

from finetune_inference.contract import Breaker, Route, RouteTable
from finetune_inference.router.breaker import Tally, trips

STABLE, CANARY = "a--aaaaaaaaaaaa", "a--bbbbbbbbbbbb"


def table(generation: int, stable: str | None = STABLE) -> RouteTable:
    versions = [version for version in (stable, CANARY) if version]
    route = Route(deployment="dep", alias="a", generation=generation, stable=stable, canary=CANARY, weight=100, versions=versions)
    return RouteTable(routes=[route])


def followed(generation: int = 1, stable: str | None = STABLE) -> Tally:
    tally = Tally()
    tally.follow(table(generation, stable))
    return tally


def test_it_needs_enough_requests_and_a_share_above_the_limit():
    breaker = Breaker(max_error_rate="0.5", min_requests=20)
    assert not trips(breaker, 19, 19)
    assert not trips(breaker, 20, 10)
    assert trips(breaker, 20, 11)


def test_a_decimal_limit_is_exact():
    assert not trips(Breaker(max_error_rate="0.1", min_requests=1), 30, 3)
    assert trips(Breaker(max_error_rate="0.1", min_requests=1), 30, 4)


def test_workers_are_counted_together_and_it_opens_once():
    tally = followed()
    assert not tally.add(("a", 1), 10, 8)
    assert tally.add(("a", 1), 10, 8)
    assert not tally.add(("a", 1), 10, 10)
    assert tally.open == {("a", 1)}


def test_a_new_generation_starts_from_nothing():
    tally = followed()
    tally.add(("a", 1), 100, 100)
    assert tally.follow(table(2))
    assert tally.open == frozenset()
    assert not tally.add(("a", 2), 19, 19)


def test_late_reports_of_an_old_generation_do_not_count():
    tally = followed(2)
    assert not tally.add(("a", 1), 100, 100)
    assert not tally.add(("gone", 2), 100, 100)


def test_it_never_takes_the_only_version_away():
    assert not followed(stable=None).add(("a", 1), 100, 100)
