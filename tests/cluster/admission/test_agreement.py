"""The API server and the operator's own code agree on generated objects, wherever both can judge.

Of jobs and deployments `decide` gives the same findings in the same words. Of Approvals it says which count, and of these and of
TrainingDatasets the operator's models say which can be read and which are another version. ``FINETUNE_FULL_SIZE=1`` asks about 15,000
objects. Each is a request that the API server runs to its end and does not store.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from random import Random
from threading import local
from typing import TypeVar

import pytest

from finetune_testbed.apiserver import MERGE, RequestError
from finetune_trainer.contract.governance import RuleId
from finetune_trainer.contract.governance.enclosure import EnclosureRuleId
from tests.cluster.admission import asked_of_jobs, asked_of_people
from tests.cluster.admission.asked_of_jobs import JUDGED, Question, told
from tests.cluster.admission.asked_of_people import INVALID, Asking
from tests.cluster.admission.governed import ALICE, Object, Refused, Site
from tests.cluster.admission.population import FULL, Settled

OBJECTS, APPROVALS, DATASETS = (12_000, 2_000, 1_000) if FULL else (500, 200, 150)
THREADS = 4
OF_APPROVALS = {
    INVALID,
    EnclosureRuleId.APPROVER_MISMATCH,
    EnclosureRuleId.NOT_ALLOWED_TO_APPROVE,
    EnclosureRuleId.SELF_APPROVAL,
    EnclosureRuleId.APPROVAL_OF_ANOTHER_DECISION,
}
Each = TypeVar("Each")
OF_DATASETS = {INVALID, RuleId.LABEL_INVALID, RuleId.NAMESPACE_NOT_CLEARED}


def test_the_api_server_and_the_decision_agree(site: Site, population: list[Settled]) -> None:
    random = Random(2026)  # the same objects on every machine
    questions = [asked_of_jobs.question_of(random, population, number) for number in range(OBJECTS)]

    def answer(own: Site, question: Question) -> set[str]:
        found = _refusal(own, ALICE, question.method, question.path, question.body)
        return _once(finding.replace("spec.server.managed.image: ", "images[0]: ") for finding in found)

    answers = _asked(site, answer, questions)
    differing = [(question, found) for question, found in zip(questions, answers, strict=True) if found != question.expected]
    for question, found in differing[:1]:
        only = found - question.expected, question.expected - found
        pytest.fail(f"{len(differing)} differ, such as {question.body}: the API server alone says {only[0]}, the decision {only[1]}")
    _assert_that_much_was_asked([{finding.partition(":")[0] for finding in found} for found in answers], JUDGED)


@pytest.mark.parametrize(
    ("draw", "count", "rules"),
    [(asked_of_people.about_an_approval, APPROVALS, OF_APPROVALS), (asked_of_people.about_data, DATASETS, OF_DATASETS)],
    ids=["approvals", "datasets"],
)
def test_the_api_server_and_the_operator_agree(
    site: Site, population: list[Settled], draw: Callable[[Random, list[Settled], int], Asking], count: int, rules: set[str]
) -> None:
    random = Random(2027)
    asked = [draw(random, population, number) for number in range(count)]

    def answer(own: Site, asking: Asking) -> set[str]:
        found = _refusal(own, asking.user, asking.method, asking.path, asking.body)
        return {finding.partition(":")[0] for finding in found}

    answers = _asked(site, answer, asked)
    differing = [(asking, found) for asking, found in zip(asked, answers, strict=True) if found != asking.expected]
    for asking, found in differing[:1]:
        pytest.fail(f"{len(differing)} differ, such as {asking}: the API server says {found}")
    _assert_that_much_was_asked(answers, rules)


def _asked(site: Site, answer: Callable[[Site, Each], set[str]], questions: list[Each]) -> list[set[str]]:
    """The answer to each, in order; each thread has connections of its own."""
    own = local()

    def connect() -> None:
        own.site = Site(site.bed, stack)

    with ExitStack() as stack, ThreadPoolExecutor(THREADS, initializer=connect) as pool:
        return list(pool.map(lambda question: answer(own.site, question), questions))


def _refusal(site: Site, user: str, method: str, path: str, body: Object) -> tuple[str, ...]:
    """Findings of an admission policy, or that the schema refuses it, or none."""
    try:
        site.ask(user, method, f"{path}?dryRun=All", body, MERGE if method == "PATCH" else "application/json")
    except Refused as refused:
        return refused.findings
    except RequestError as error:
        if error.status != 422:
            raise
        return (INVALID,)
    return ()


def _once(findings: Iterable[str]) -> set[str]:
    """What several policies say alike, said once; the API server says so of digests only."""
    named: dict[tuple[str, str], list[str]] = {}
    for finding in findings:
        words, by, rest = finding.partition(" (policy ")
        policies, _, remedy = rest.partition("). ")
        named.setdefault((words, remedy), []).extend(policies.split(" + ") if by else [])
    return {told(words, remedy, policies) if policies else words for (words, remedy), policies in named.items()}


def _assert_that_much_was_asked(answers: list[set[str]], rules: set[str] | set[RuleId]) -> None:
    """Every rule is told often, and a sixth of all is let pass."""
    found = Counter(rule for rules_told in answers for rule in rules_told)
    passed = sum(not rules_told for rules_told in answers)
    print(f"{len(answers)} asked, {passed} let pass, {dict(found)}")
    assert all(found[rule] >= len(answers) // 100 for rule in rules), found
    assert passed >= len(answers) // 6, (passed, found)
