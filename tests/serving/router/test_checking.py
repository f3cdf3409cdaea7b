"""Answers against the output schema, off the hot path."""

import json
import threading

import pytest

from finetune_inference.contract import CheckOutcome, Route, RouteTable, SchemaCheck
from finetune_inference.router.book import Book, bound, problems
from finetune_inference.router.checking import Checker, Sample, judged
from finetune_inference.router.schemas import SchemaInvalid, compiled, complies

SCHEMA = json.dumps({"type": "object", "required": ["team"], "properties": {"team": {"enum": ["red", "blue"]}}})
VERSION = "a--aaaaaaaaaaaa"


def sample(text: str, count=lambda outcome: None, finish: str = "stop") -> Sample:
    body = json.dumps({"choices": [{"index": 0, "message": {"content": text}, "finish_reason": finish}]}).encode()
    return Sample((body[:10], body[10:]), False, compiled(SCHEMA), count)


@pytest.mark.parametrize(
    ("text", "outcome"),
    [
        ('{"team": "red"}', CheckOutcome.VALID),
        (' {"team": "red"}\n', CheckOutcome.VALID),
        ('{"team": "green"}', CheckOutcome.INVALID),
        ("{}", CheckOutcome.INVALID),
        ("The team is red.", CheckOutcome.INVALID),
        ("", CheckOutcome.INVALID),
        ("[" * 100_000, CheckOutcome.INVALID),
        ("NaN", CheckOutcome.INVALID),
    ],
)
def test_an_answer_is_valid_or_not(text, outcome):
    assert judged(sample(text)) is outcome


@pytest.mark.parametrize(("text", "outcome"), [('{"team":', CheckOutcome.INVALID), ('{"team": "red"}', CheckOutcome.VALID)])
def test_an_answer_that_was_cut_at_its_limit_is_judged_as_it_came(text, outcome):
    assert judged(sample(text, finish="length")) is outcome


def test_a_call_of_a_tool_is_not_judged():
    assert judged(sample('{"team":', finish="tool_calls")) is None


@pytest.mark.parametrize("text", ["{", "[]", '{"type": "nothing"}'])
def test_a_schema_that_is_none_is_refused(text):
    with pytest.raises(SchemaInvalid):
        compiled(text)


def test_a_schema_fetches_nothing():
    with pytest.raises(SchemaInvalid, match=r"\$defs"):
        complies(compiled('{"$ref": "http://127.0.0.1:9/schema.json"}'), "{}")


def test_results_are_counted_on_the_threads_own_time():
    counted: list[CheckOutcome] = []
    checker = Checker(8)
    checker.start()
    for text in ('{"team": "red"}', "{}", "no"):
        assert checker.offer(sample(text, counted.append))
    checker.stop(60)
    assert counted == [CheckOutcome.VALID, CheckOutcome.INVALID, CheckOutcome.INVALID]


def test_a_full_queue_refuses_and_never_waits():
    release, busy = threading.Event(), threading.Event()
    checker = Checker(2)
    checker.start()
    assert checker.offer(sample("{}", lambda outcome: (busy.set(), release.wait(60))))
    assert busy.wait(60)
    assert [checker.offer(sample("{}")) for _ in range(4)] == [True, True, False, False]
    release.set()
    checker.stop(60)


@pytest.mark.parametrize(
    ("text", "said"), [("[]", "no JSON Schema"), ("{", "not JSON"), ('{"$ref": "other.json"}', "refers to another document")]
)
def test_a_bad_schema_is_said_and_its_route_holds(text, said):
    check = SchemaCheck(output_schema=text)
    route = Route(deployment="dep", alias="a", generation=1, stable=VERSION, versions=[VERSION], schema_check=check)
    table = RouteTable(routes=[route])
    assert said in problems(table)["a"]
    assert "a" in bound(table, frozenset(), Book()).entries


def test_a_schema_is_compiled_once():
    route = Route(
        deployment="dep", alias="a", generation=1, stable=VERSION, versions=[VERSION], schema_check=SchemaCheck(output_schema=SCHEMA)
    )
    first = bound(RouteTable(routes=[route]), frozenset(), Book())
    second = bound(RouteTable(routes=[route.model_copy(update={"generation": 2})]), frozenset(), first)
    assert second.entries["a"].validator is first.entries["a"].validator is not None
