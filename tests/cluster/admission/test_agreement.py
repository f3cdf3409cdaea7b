"""The API server and `decide` give the same findings in the same words, on generated objects, wherever both can judge.

``FINETUNE_FULL_SIZE=1`` asks about 12,000 objects. Each is a request that the API server runs to its end and does not store.
"""

from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from random import Random
from threading import local

import pytest

from finetune_operator.api.spec import FineTuneJobSpec
from finetune_operator.domain.governance.datasets import Unresolved, follow
from finetune_operator.domain.governance.facts import datasets_of, judges_of, trackers_of
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
from tests.cluster.admission.population import FULL, OTHER, Settled, labels_of_object

OBJECTS = 12_000 if FULL else 500
THREADS = 4
NOW = datetime(2026, 11, 26, tzinfo=UTC)
JUDGED = {
    RuleId.LABEL_INVALID,
    RuleId.CLASSIFICATION_DOWNGRADE,
    RuleId.DATASET_NOT_REGISTERED,
    RuleId.DATASET_WITHDRAWN,
    RuleId.NO_MATCHING_POLICY,
    RuleId.NAMESPACE_NOT_CLEARED,
    RuleId.ADAPTER_NOT_CLEARED,
    RuleId.RESIDENCY_VIOLATION,
    RuleId.NOT_PINNED,
    RuleId.EXTERNAL_TRACKER,
    RuleId.EXTERNAL_JUDGE,
}
"""What an object, its namespace and the facts that the operator writes about it tell."""
TRACKERS = ("http://mlflow.site:5000/a", "https://MLflow.Site./", "http://t3.site", "http://" + "long." * 20 + "site")
JUDGES = ("http://judge.site/v1", "https://Judge.Site.:8000/v1", "https://j3.site", "http://" + "long." * 20 + "site")
IMAGES = ("", "", f"registry.invalid/vllm@{DIGEST}", "registry.invalid/vllm:v1")


@dataclass(frozen=True)
class Question:
    """One request, and the same as facts."""

    method: str
    path: str
    body: Object
    facts: Facts
    policies: tuple[Policy, ...]

    @property
    def expected(self) -> set[str]:
        findings = [finding for finding in decide(self.facts, self.policies, NOW).findings if finding.rule in JUDGED and finding.enforced]
        named: dict[str, tuple[str, list[str]]] = {}
        for finding in findings:
            _, policies = named.setdefault(f"{finding.rule}: {finding.field}: {finding.reason}", (finding.remedy, []))
            policies.append(finding.policy)
        return {_told(words, remedy, policies) for words, (remedy, policies) in named.items()}


def _told(words: str, remedy: str, policies: list[str]) -> str:
    by = f" (policy {' + '.join(sorted(policies))})" if any(policies) else ""
    return f"{words}{by}. {remedy}"


def _once(findings: Iterable[str]) -> set[str]:
    """What several policies say alike, said once; the API server says so of digests only."""
    named: dict[tuple[str, str], list[str]] = {}
    for finding in findings:
        words, by, rest = finding.partition(" (policy ")
        policies, _, remedy = rest.partition("). ")
        named.setdefault((words, remedy), []).extend(policies.split(" + ") if by else [])
    return {_told(words, remedy, policies) if policies else words for (words, remedy), policies in named.items()}


def test_the_api_server_and_the_decision_agree(site: Site, population: list[Settled]) -> None:
    random = Random(2026)  # the same objects on every machine
    questions = [_question(random, population, number) for number in range(OBJECTS)]
    own = local()

    def answer(question: Question) -> set[str]:
        content = MERGE if question.method == "PATCH" else "application/json"
        try:
            own.site.ask(ALICE, question.method, f"{question.path}?dryRun=All", question.body, content)
        except Refused as refused:
            return _once(finding.replace("spec.server.managed.image: ", "images[0]: ") for finding in refused.findings)
        return set()

    def connect() -> None:
        own.site = Site(site.bed, stack)

    with ExitStack() as stack, ThreadPoolExecutor(THREADS, initializer=connect) as pool:
        answers = list(pool.map(answer, questions))
    differing = [(question, told) for question, told in zip(questions, answers, strict=True) if told != question.expected]
    for question, told in differing[:1]:
        only = told - question.expected, question.expected - told
        pytest.fail(f"{len(differing)} differ, such as {question.body}: the API server alone says {only[0]}, the decision {only[1]}")
    _assert_that_much_was_asked(answers)


def _assert_that_much_was_asked(answers: list[set[str]]) -> None:
    told = Counter(rule for rule in JUDGED for found in answers if any(finding.startswith(f"{rule}: ") for finding in found))
    assert all(told[rule] >= OBJECTS // 100 for rule in JUDGED), told
    assert sum(not found for found in answers) >= OBJECTS // 40, told


def _question(random: Random, population: list[Settled], number: int) -> Question:
    there = random.choice(population)
    serving, changing, labels = random.random() < 0.3, random.random() < 0.5, labels_of_object(random)
    stored = random.choice(there.deployments if serving else there.jobs)
    if changing and random.random() < 0.5:  # one label only
        labels = {**stored.labels, **dict(random.sample(sorted(labels.items()), 1))}
    digest, image = DIGEST if random.random() < 0.7 else None, random.choice(IMAGES)
    sources = _sources(random, there)
    document = deployment("new", labels, image=image) if serving else job("new", labels)
    document["spec"]["baseModel"] = {"uri": "pvc://models/tiny-chat", **({"digest": digest} if digest else {})}
    if not serving:
        document["spec"] |= sources
        if random.random() < 0.2:
            document["spec"]["tracking"] = {"mlflow": {"uri": random.choice(TRACKERS)}}
        if random.random() < 0.15:
            judge = {"endpoint": random.choice(JUDGES), "model": "critic"}
            document["spec"]["evaluation"] = {**document["spec"].get("evaluation", {}), "judge": judge}
    facts = _facts(there, document, labels, stored.labels if changing else None, image, serving=serving)
    if not changing:
        return Question("POST", (deployments if serving else jobs)(there.namespace), document, facts, there.policies)
    change = {
        "metadata": {"labels": {**dict.fromkeys(stored.labels), **labels}},
        "spec": _changed(document["spec"], digest, image, number, serving),
    }
    return Question("PATCH", stored.path, change, facts, there.policies)


def _sources(random: Random, there: Settled) -> Object:
    """Rows by reference or in place, sometimes with others held out; often of the same place or digest as registered ones."""
    places = sorted(
        {each["spec"]["uri"] for each in there.datasets} | {"pvc://data/own.jsonl", "pvc://other/a/own.jsonl", "pvc://other/own"}
    )
    own, held, items = (_rows(random, uri) for uri in random.sample(places, 3))
    reference = {"ref": {"name": random.choice(there.datasets)["metadata"]["name"]}}
    dataset: Object = reference if random.random() < 0.6 else {"inline": own}
    validation = {"validation": held} if random.random() < 0.15 else {}
    evaluation = {"evaluation": {"dataset": items}} if random.random() < 0.15 else {}
    return {"dataset": {**dataset, **validation}, **evaluation}


def _rows(random: Random, uri: str) -> Object:
    digest = random.choice((None, DIGEST, OTHER, "sha256:" + "c" * 64))
    return {"uri": uri, **({"digest": digest} if digest else {})}


def _changed(spec: Object, digest: str | None, image: str, number: int, serving: bool) -> Object:
    """Always with something that is new: what is as it was is not judged again."""
    base = {"baseModel": {"uri": "pvc://models/tiny-chat", "digest": digest}}
    if serving:
        return {**base, "server": {"managed": {"image": image or None}}, "retry": f"r{number}"}
    dataset = {"ref": None, "inline": None, "validation": None, **spec["dataset"]}
    return {
        **base,
        "dataset": dataset,
        "evaluation": spec.get("evaluation"),
        "tracking": spec.get("tracking"),
        "training": {"seed": 1000 + number},
    }


def _facts(there: Settled, document: Object, labels: dict[str, str], before: dict[str, str] | None, image: str, *, serving: bool) -> Facts:
    known: Object = {
        "stage": "Serve" if serving else "Accept",
        "namespace": {"name": there.namespace, "labels": dict(there.view.namespace_labels)},
        "subject": {"name": "new", "labels": labels, "labelsBefore": before, "submitter": ALICE},
        "site": {"residencies": PLACES, "regimes": SITE_REGIMES},
        "baseModel": {"uri": "pvc://models/tiny-chat", "digest": document["spec"]["baseModel"].get("digest")},
    }
    if serving:
        return Facts.model_validate({**known, "images": [image] if image else []})
    spec = follow(FineTuneJobSpec.model_validate(document["spec"]), there.view)
    assert not isinstance(spec, Unresolved)
    return Facts.model_validate(known).model_copy(
        update={"datasets": datasets_of(there.view, spec), "trackers": trackers_of(spec), "judges": judges_of(spec)}
    )
