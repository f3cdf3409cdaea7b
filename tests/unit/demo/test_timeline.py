"""One moment of a deployment, from its status and its routers' counters."""

from demo.timeline import Counts, sample

STABLE, CANARY = "ticket-router--aaaaaaaaaaaa", "ticket-router--bbbbbbbbbbbb"


def exposition(deployment: str = "ticket-router") -> str:
    arm = f'namespace="support",deployment="{deployment}",version="{CANARY}",track="shadow"'
    return "\n".join(
        [
            "# HELP adapter_router_requests_total Requests by version, track and how they ended.",
            f'adapter_router_requests_total{{{arm},outcome="ok"}} 7.0',
            f'adapter_router_requests_total{{{arm},outcome="error"}} 2.0',
            f'adapter_router_requests_total{{{arm},outcome="fallback"}} 1.0',
            f'adapter_router_requests_total{{{arm},outcome="client_error"}} 50.0',
            f'adapter_router_checks_total{{{arm},check="schema",outcome="valid"}} 1.0',
            f'adapter_router_checks_total{{{arm},check="schema",outcome="invalid"}} 6.0',
            f"adapter_router_ttft_seconds_sum{{{arm}}} 0.5",
            f"adapter_router_ttft_seconds_count{{{arm}}} 7.0",
            f'adapter_router_ttft_seconds_bucket{{{arm},le="0.1"}} 7.0',
            "adapter_router_shadow_dropped_total 3.0",
        ]
    )


def deployment(**status: object) -> dict[str, object]:
    return {"metadata": {"name": "ticket-router"}, "status": status}


def test_counters_of_all_routers_are_added_up_and_callers_own_mistakes_count_for_nobody() -> None:
    found = sample(1.0, deployment(), [exposition(), exposition(), exposition("another")])
    assert found.counts == {f"{CANARY}/shadow": Counts(ok=14, failed=6, valid=2, invalid=12, first_seconds=1.0, first_count=14)}


def test_shares_are_those_of_the_route() -> None:
    route = {"stable": STABLE, "canary": CANARY, "weight": 25}
    assert sample(1.0, deployment(route=route), []).shares == {STABLE: 75, CANARY: 25}
    alone = sample(1.0, deployment(route={"stable": STABLE, "weight": 0}), [])
    assert (alone.shares, alone.shadow) == ({STABLE: 100}, 0)


def test_before_anything_is_known_of_it_a_deployment_has_no_shares() -> None:
    found = sample(1.0, {"metadata": {"name": "ticket-router"}}, [])
    assert (found.shares, found.counts, found.phase) == ({}, {}, "")
