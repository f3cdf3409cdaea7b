"""Requests are read as the API server reads them, and rules fail those that they name."""

import pytest

from finetune_testbed import calls, faults
from finetune_testbed.calls import Call
from finetune_testbed.faults import Fault


def call(method: str = "GET", path: str = "/api/v1/pods", **query: str) -> Call:
    return calls.describe(1, method, path, query, "agent/1")


@pytest.mark.parametrize(
    ("method", "path", "query", "kind", "namespace", "name"),
    [
        ("GET", "/api/v1/namespaces/a/pods", {}, "list pods", "a", ""),
        ("GET", "/api/v1/namespaces/a/pods", {"watch": "true"}, "watch pods", "a", ""),
        ("GET", "/api/v1/namespaces/a/pods/p/log", {"follow": "true"}, "get pods/log", "a", "p"),
        ("PATCH", "/apis/finetune.dev/v1alpha1/namespaces/a/finetunejobs/j/status", {}, "patch finetunejobs/status", "a", "j"),
        ("POST", "/apis/batch/v1/namespaces/a/jobs", {}, "create jobs", "a", ""),
        ("PUT", "/api/v1/namespaces/a/finalize", {}, "update namespaces/finalize", "", "a"),
        ("GET", "/api/v1/namespaces/a", {}, "get namespaces", "", "a"),
        ("DELETE", "/api/v1/nodes/n", {}, "delete nodes", "", "n"),
        ("DELETE", "/api/v1/namespaces/a/configmaps", {}, "deletecollection configmaps", "a", ""),
        ("POST", "/api/v1/namespaces/a/pods/p/eviction", {}, "create pods/eviction", "a", "p"),
        ("GET", "/readyz", {}, "list ", "", ""),
    ],
)
def test_a_request_is_read_from_its_path(method: str, path: str, query: dict[str, str], kind: str, namespace: str, name: str) -> None:
    seen = calls.describe(1, method, path, query, "")
    assert (seen.kind, seen.namespace, seen.name) == (kind, namespace, name)


def test_only_what_changes_stored_state_is_a_write() -> None:
    assert call("POST", "/apis/batch/v1/namespaces/a/jobs").is_write
    assert call("DELETE", "/api/v1/namespaces/a/pods/p").is_write
    assert not call("GET").is_write
    assert not call("POST", "/apis/batch/v1/namespaces/a/jobs", dryRun="All").is_write
    assert not call("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews").is_write
    assert call("PUT", "/apis/coordination.k8s.io/v1/namespaces/a/leases/l").is_lease


def test_a_fault_hits_the_call_it_is_meant_for() -> None:
    rule = faults.at({2: Fault.CONFLICT}, among=lambda each: each.is_write)
    write = call("POST", "/apis/batch/v1/namespaces/a/jobs")
    assert [rule(each) for each in (call(), write, call(), write, write)] == [None, None, None, Fault.CONFLICT, None]


def test_chance_keeps_its_rate_and_repeats_with_its_seed() -> None:
    def draws(seed: int) -> list[Fault | None]:
        rule = faults.randomly({Fault.RESET: 0.1, Fault.THROTTLED: 0.2}, seed)
        return [rule(call()) for _ in range(2000)]

    assert draws(1) == draws(1)
    assert draws(1) != draws(2)
    assert 150 < draws(1).count(Fault.RESET) < 250
    assert 320 < draws(1).count(Fault.THROTTLED) < 480


def test_probabilities_above_one_are_refused() -> None:
    with pytest.raises(ValueError, match=r"add up to 1\.2"):
        faults.randomly({Fault.RESET: 0.6, Fault.GONE: 0.6}, 1)


def test_the_first_rule_with_an_opinion_decides() -> None:
    rule = faults.first_of(faults.never, faults.at({1: Fault.GONE}, among=lambda _call: True), lambda _call: Fault.RESET)
    assert [rule(call()), rule(call())] == [Fault.GONE, Fault.RESET]


def test_an_injected_error_looks_like_the_api_servers() -> None:
    body = faults.status_body(Fault.CONFLICT, call("PATCH", "/apis/finetune.dev/v1alpha1/namespaces/a/finetunejobs/j"))
    assert (body["kind"], body["code"], body["reason"]) == ("Status", 409, "Conflict")
    assert body["details"] == {"name": "j", "group": "finetune.dev", "kind": "finetunejobs"}
