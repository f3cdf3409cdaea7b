"""The API server and `decide` give the same findings in the same words, on generated objects, wherever both can judge.

``FINETUNE_FULL_SIZE=1`` asks about 12,000 objects. Each is a request that the API server runs to its end and does not store.
"""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from random import Random
from threading import local

import pytest

from finetune_testbed.apiserver import MERGE
from finetune_trainer.contract.governance import Facts, Policy, RuleId, decide
from tests.cluster.admission.governed import (
    ALICE,
    DIGEST,
    PLACES,
    SITE_REGIMES,
    Object,
    Refused,
    Site,
    deployment,
    deployments,
    job,
    jobs,
)
from tests.cluster.admission.population import FULL, Settled, labels_of_object

OBJECTS = 12_000 if FULL else 500
THREADS = 4
NOW = datetime(2026, 11, 26, tzinfo=UTC)
JUDGED = {
    RuleId.LABEL_INVALID,
    RuleId.CLASSIFICATION_DOWNGRADE,
    RuleId.NAMESPACE_NOT_CLEARED,
    RuleId.ADAPTER_NOT_CLEARED,
    RuleId.RESIDENCY_VIOLATION,
    RuleId.NOT_PINNED,
}
"""What an object and its namespace tell without any other object."""
OPEN = Policy.model_validate({"name": "open", "zones": ["*"], "dataSources": ["*"]})
"""A policy that applies to everything and says nothing of digests, so that they are asked for from confidential on."""
IMAGES = ("", "", f"registry.invalid/vllm@{DIGEST}", "registry.invalid/vllm:v1")


@dataclass(frozen=True)
class Question:
    """One request, and the same as facts."""

    method: str
    path: str
    body: Object
    facts: Facts

    @property
    def expected(self) -> set[str]:
        findings = [finding for finding in decide(self.facts, [OPEN], NOW).findings if finding.rule in JUDGED]
        return {f"{finding.rule}: {finding.field}: {finding.reason}. {finding.remedy}" for finding in findings}


def test_the_api_server_and_the_decision_agree(site: Site, population: list[Settled]) -> None:
    random = Random(2026)  # the same objects on every machine
    questions = [_question(random, population, number) for number in range(OBJECTS)]
    own = local()

    def answer(question: Question) -> set[str]:
        content = MERGE if question.method == "PATCH" else "application/json"
        try:
            own.site.ask(ALICE, question.method, f"{question.path}?dryRun=All", question.body, content)
        except Refused as refused:
            return {finding.replace("spec.server.managed.image: ", "images[0]: ") for finding in refused.findings}
        return set()

    def connect() -> None:
        own.site = Site(site.bed, stack)

    with ExitStack() as stack, ThreadPoolExecutor(THREADS, initializer=connect) as pool:
        answers = list(pool.map(answer, questions))
    differing = [(question, told) for question, told in zip(questions, answers, strict=True) if told != question.expected]
    for question, told in differing[:1]:
        pytest.fail(f"{len(differing)} differ, such as {question}: the API server says {told}, the decision {question.expected}")
    _assert_that_much_was_asked(answers)


def _assert_that_much_was_asked(answers: list[set[str]]) -> None:
    told = Counter(rule for rule in JUDGED for found in answers if any(finding.startswith(f"{rule}: ") for finding in found))
    assert all(told[rule] >= OBJECTS // 100 for rule in JUDGED), told
    assert sum(not found for found in answers) >= OBJECTS // 20, told


def _question(random: Random, population: list[Settled], number: int) -> Question:
    there = random.choice(population)
    serving, changing, labels = random.random() < 0.3, random.random() < 0.5, labels_of_object(random)
    stored = random.choice(there.deployments if serving else there.jobs)
    if changing and random.random() < 0.5:  # one label only
        labels = {**stored.labels, **dict(random.sample(sorted(labels.items()), 1))}
    digests = [DIGEST if random.random() < 0.7 else None for _ in range(2)]
    image = random.choice(IMAGES)
    facts = _facts(there, labels, stored.labels if changing else None, digests, image, serving=serving)
    if changing:
        spec = _changed_spec(digests, image, number, serving=serving)
        return Question("PATCH", stored.path, {"metadata": {"labels": {**dict.fromkeys(stored.labels), **labels}}, "spec": spec}, facts)
    where = deployments(there.namespace) if serving else jobs(there.namespace)
    return Question("POST", where, _new(labels, digests, image, serving=serving), facts)


def _new(labels: dict[str, str], digests: list[str | None], image: str, *, serving: bool) -> Object:
    if serving:
        return deployment("new", labels, image=image, pinned=digests[0] is not None)
    document = job("new", labels, pinned=False)
    for part, digest in zip((document["spec"]["baseModel"], document["spec"]["dataset"]["inline"]), digests, strict=True):
        if digest is not None:
            part["digest"] = digest
    return document


def _changed_spec(digests: list[str | None], image: str, number: int, *, serving: bool) -> Object:
    """Always with something that is new: what is as it was is not judged again."""
    base = {"baseModel": {"digest": digests[0]}}
    if serving:
        return {**base, "server": {"managed": {"image": image or None}}, "retry": f"r{number}"}
    return {**base, "dataset": {"inline": {"digest": digests[1]}}, "training": {"seed": 1000 + number}}


def _facts(
    there: Settled, labels: dict[str, str], before: dict[str, str] | None, digests: list[str | None], image: str, *, serving: bool
) -> Facts:
    document: Object = {
        "stage": "Serve" if serving else "Accept",
        "namespace": {"name": there.namespace, "labels": there.labels},
        "subject": {"name": "new", "labels": labels, "labelsBefore": before, "submitter": ALICE},
        "site": {"residencies": PLACES, "regimes": SITE_REGIMES},
        "baseModel": {"uri": "pvc://m/b", "digest": digests[0]},
    }
    if serving:
        return Facts.model_validate({**document, "images": [image] if image else []})
    dataset = {"field": "spec.dataset.inline", "uri": "pvc://data/tickets.jsonl", "digest": digests[1]}
    return Facts.model_validate({**document, "datasets": [dataset]})
