"""Requests for jobs and deployments, new and changed, each with the same as facts.

Two in five are drawn from everything; the others are what somebody writes who knows the rules, as it should be or with one slip.
"""

from dataclasses import dataclass
from random import Random

from finetune_operator.api.spec import FineTuneJobSpec
from finetune_operator.domain.governance.datasets import Unresolved, follow
from finetune_operator.domain.governance.facts import datasets_of, judges_of, trackers_of
from finetune_trainer.contract.governance import Classification, Facts, Policy, RuleId, decide, strictest
from finetune_trainer.contract.governance.vocabulary import ANY, REGIME_LABELS, Level
from tests.cluster.admission.governed import (
    ALICE,
    DIGEST,
    LEVEL,
    PLACES,
    RESIDENCY,
    SITE_REGIMES,
    Object,
    deployment,
    deployments,
    job,
    jobs,
)
from tests.cluster.admission.population import LEVELS, OTHER, YES, Settled, Stored, labels_of_object
from tests.cluster.admission.sealed import NOW

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
SLIPS = ("labels", "base", "image", "sources", "tracker", "judge")
"""What a careful author may have got wrong."""


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
        return {told(words, remedy, policies) for words, (remedy, policies) in named.items()}


@dataclass(frozen=True)
class Draft:
    """What is asked for, but for its labels."""

    there: Settled
    stored: Stored | None
    """What is changed; None for something new."""
    serving: bool
    sources: Object
    digest: str | None
    image: str
    outside: dict[str, str]
    """A tracker and a judge, where there are some."""

    def document(self, labels: dict[str, str]) -> Object:
        made = deployment("new", labels, image=self.image) if self.serving else job("new", labels)
        made["spec"]["baseModel"] = {"uri": "pvc://models/tiny-chat", **({"digest": self.digest} if self.digest else {})}
        if not self.serving:
            made["spec"] |= self.sources
            if "tracker" in self.outside:
                made["spec"]["tracking"] = {"mlflow": {"uri": self.outside["tracker"]}}
            if "judge" in self.outside:
                judge = {"endpoint": self.outside["judge"], "model": "critic"}
                made["spec"]["evaluation"] = {**made["spec"].get("evaluation", {}), "judge": judge}
        return made

    def facts(self, labels: dict[str, str]) -> Facts:
        known: Object = {
            "stage": "Serve" if self.serving else "Accept",
            "namespace": {"name": self.there.namespace, "labels": dict(self.there.view.namespace_labels)},
            "subject": {"name": "new", "labels": labels, "labelsBefore": self.stored and self.stored.labels, "submitter": ALICE},
            "site": {"residencies": PLACES, "regimes": SITE_REGIMES},
            "baseModel": {"uri": "pvc://models/tiny-chat", "digest": self.digest},
        }
        if self.serving:
            return Facts.model_validate({**known, "images": [self.image] if self.image else []})
        spec = follow(FineTuneJobSpec.model_validate(self.document(labels)["spec"]), self.there.view)
        assert not isinstance(spec, Unresolved)
        return Facts.model_validate(known).model_copy(
            update={"datasets": datasets_of(self.there.view, spec), "trackers": trackers_of(spec), "judges": judges_of(spec)}
        )


def question_of(random: Random, population: list[Settled], number: int) -> Question:
    """About a job or a deployment; ``number`` makes every change another one, since what is as it was is not judged again."""
    slips = set(SLIPS) if random.random() < 0.4 else set(random.choice(((), (), *((slip,) for slip in SLIPS))))
    careful = slips != set(SLIPS)
    there = random.choice([each for each in population if each.kept] if careful and random.random() < 0.8 else population)
    serving, changing = random.random() < 0.3, random.random() < 0.5
    stored = _stored(random, there.deployments if serving else there.jobs, careful) if changing else None
    draft = Draft(
        there,
        stored,
        serving,
        _sources(random, there) if "sources" in slips else _registered_sources(random, there, stored),
        (DIGEST if random.random() < 0.7 else None) if "base" in slips else DIGEST,
        random.choice(IMAGES if "image" in slips else IMAGES[:3]),
        _outside(random, slips),
    )
    labels = _careful(random, draft) if careful else labels_of_object(random)
    if stored is not None and "labels" in slips and (careful or random.random() < 0.5):  # one label only
        labels = {**(labels if careful else stored.labels), **dict(random.sample(sorted(labels_of_object(random).items()), 1))}
    elif careful and "labels" in slips:
        labels = {key: value for key, value in labels.items() if key != random.choice(sorted(labels))}
    facts = draft.facts(labels)
    if stored is None:
        return Question("POST", (deployments if serving else jobs)(there.namespace), draft.document(labels), facts, there.policies)
    change = {"metadata": {"labels": {**dict.fromkeys(stored.labels), **labels}}, "spec": _changed(draft, labels, number)}
    return Question("PATCH", stored.path, change, facts, there.policies)


def _careful(random: Random, draft: Draft) -> dict[str, str]:
    """Labels as high as what they stand for, and no lower than before."""
    before = draft.stored.labels if draft.stored is not None else {}
    parts = [dataset.classification for dataset in draft.facts({}).datasets if dataset.classification is not None]
    whole = strictest([*parts, Classification(level=Level(random.choice(LEVELS)))])
    levels = [whole.level, Level.read(before.get(LEVEL, "")) or Level.PUBLIC]
    place = before.get(RESIDENCY, ANY)
    if place not in PLACES:
        place = next(iter(sorted(whole.residencies)), draft.there.labels.get(RESIDENCY, ANY))
    regimes = {key for key in before if key.startswith(REGIME_LABELS)} | {REGIME_LABELS + name for name in whole.regimes}
    return {LEVEL: max(levels).value, RESIDENCY: place, **dict.fromkeys(sorted(regimes), YES), "team": random.choice("ab")}


def _outside(random: Random, slips: set[str]) -> dict[str, str]:
    """Sometimes a tracker or a judge, and always the one that is a slip; the first two of each are those that policies name."""
    found = {}
    for name, places in (("tracker", TRACKERS), ("judge", JUDGES)):
        if random.random() < (0.8 if slips == {name} else 0.18):
            found[name] = random.choice(places if name in slips else places[:2])
    return found


def _stored(random: Random, stored: tuple[Stored, ...], careful: bool) -> Stored:
    """Who is careful changes what can be put right: a regime that nobody knows can neither stay nor go."""
    legal = [each for each in stored if all(value == YES for key, value in each.labels.items() if key.startswith(REGIME_LABELS))]
    sound = [each for each in legal if f"{REGIME_LABELS}hippa" not in each.labels and each.labels.get(RESIDENCY, ANY) in {ANY, *PLACES}]
    return random.choice(sound if careful and sound else stored)


def _registered_sources(random: Random, there: Settled, stored: Stored | None) -> Object:
    """By reference, and where it can be to data with a digest that were not withdrawn and may lie there."""
    places = {there.labels.get(RESIDENCY, ANY), stored.labels.get(RESIDENCY, ANY) if stored is not None else ANY} - {ANY}
    usable = []
    for each in there.datasets:
        data = each["spec"]
        withdrawn = there.view.withdrawn(data["uri"], data.get("digest"))
        if "digest" in data and withdrawn is None and len(places | {data["residency"]} - {ANY}) <= 1:
            usable.append(each)
    return {"dataset": {"ref": {"name": random.choice(usable or list(there.datasets))["metadata"]["name"]}}}


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


def _changed(draft: Draft, labels: dict[str, str], number: int) -> Object:
    """Always with something that is new."""
    base = {"baseModel": {"uri": "pvc://models/tiny-chat", "digest": draft.digest}}
    if draft.serving:
        return {**base, "server": {"managed": {"image": draft.image or None}}, "retry": f"r{number}"}
    spec = draft.document(labels)["spec"]
    dataset = {"ref": None, "inline": None, "validation": None, **spec["dataset"]}
    others = {name: spec.get(name) for name in ("evaluation", "tracking")}
    return {**base, "dataset": dataset, **others, "training": {"seed": 1000 + number}}


def told(words: str, remedy: str, policies: list[str]) -> str:
    """A finding, and which policies it is of."""
    by = f" (policy {' + '.join(sorted(policies))})" if any(policies) else ""
    return f"{words}{by}. {remedy}"
