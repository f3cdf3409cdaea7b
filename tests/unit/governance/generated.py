"""Facts and policies of every kind, within what their models allow."""

from datetime import timedelta
from typing import Any

from hypothesis import strategies as st

from finetune_trainer.contract.governance import Classification, Facts, Policy, decide
from finetune_trainer.contract.governance.facts import ApprovalStage, Probe, Proof, Stage
from finetune_trainer.contract.governance.policy import Dns, Egress, Mode
from finetune_trainer.contract.governance.vocabulary import Entity, Level, Regime, ScanProfile
from finetune_trainer.contract.model import LicenceCategory, WeightsFormat
from finetune_trainer.contract.results import Verdict
from tests.unit.governance.samples import CLASSIFIED, DIGEST, FACTS, LABELS, LEVEL, LLAMA, NODE, NOW, OTHER, POLICY, RESIDENCY

PLACES, REGIMES, PEOPLE = ("onprem-a", "eu-de"), (*Regime, "trial"), ("alice", "bob", "carol", "dave", "")


def maybe(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | strategy


def few(strategy: st.SearchStrategy[Any], size: int = 2) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(strategy, max_size=size).map(tuple)


levels = st.sampled_from(Level)
digests = maybe(st.sampled_from([DIGEST, OTHER, "", DIGEST + "\n"]) | st.text(max_size=8))
odd = st.text(max_size=12)
classifications = st.builds(
    Classification,
    level=levels,
    regimes=st.frozensets(st.sampled_from(REGIMES), max_size=3),
    residencies=st.frozensets(st.sampled_from(PLACES), max_size=2),
)
clear = st.fixed_dictionaries(
    {"finetune.dev/governed": st.sampled_from(["true", "true", "false"]), "finetune.dev/clearance-level": st.just("restricted")},
    optional={f"finetune.dev/clearance.{regime}": st.just("true") for regime in REGIMES},
)
labels = st.fixed_dictionaries(
    {},
    optional={
        LEVEL: st.sampled_from([level.value for level in Level]) | odd,
        RESIDENCY: st.sampled_from([*PLACES, "any"]) | odd,
        **{f"finetune.dev/regime.{regime}": st.just("true") | odd for regime in REGIMES},
    },
)
any_labels = labels | st.dictionaries(odd | odd.map(lambda text: f"finetune.dev/regime.{text}"), odd, max_size=3)
counts = st.integers(0, 50)
hit = st.fixed_dictionaries({"entity": st.sampled_from(Entity), "rows": counts, "validated_rows": counts})
keys = st.sampled_from(["MIT", LLAMA, "GPL-3.0-only", "qwen"])
uris = st.sampled_from(["pvc://clean/a", "pvc://clean/../b", "hf://a/b", "", "pvc://other/x\n"]) | odd
addresses = st.sampled_from(["http://mlflow.site:5000/", "https://evil.test", "//mlflow.site", "http://u:p@mlflow.site"]) | odd
dataset = st.fixed_dictionaries(
    {"uri": uris, "digest": digests, "classification": maybe(classifications), "claims_safe_harbor": st.booleans()},
    optional={
        "withdrawn": maybe(odd),
        "purposes": maybe(few(st.sampled_from(["triage", "ads"]))),
        "retain_until": maybe(st.sampled_from([NOW, NOW + timedelta(hours=1)])),
        "generators": few(st.fixed_dictionaries({"name": odd, "licence": keys})),
    },
)
model = st.fixed_dictionaries(
    {"uri": uris, "digest": digests, "remote_code": st.booleans()},
    optional={
        "licences": maybe(few(st.fixed_dictionaries({"key": keys, "category": maybe(st.sampled_from(LicenceCategory))}))),
        "formats": maybe(few(st.sampled_from(WeightsFormat))),
        "found_digest": digests,
        "claimed": maybe(st.fixed_dictionaries({"key": keys})),
    },
)
proofs = maybe(st.sampled_from(Proof))
adapter = st.fixed_dictionaries(
    {"digest": digests, "classification": maybe(classifications), "signature": proofs, "record": proofs, "revoked": st.booleans()}
)
moments = st.integers(-10, 10).map(lambda hours: NOW + timedelta(hours=hours))
approval = st.fixed_dictionaries(
    {
        "stage": st.sampled_from(ApprovalStage),
        "approver": st.sampled_from(PEOPLE),
        "subject_digest": st.just(DIGEST),
        "given_at": moments,
        "expires_at": maybe(moments),
    }
)
nodes = st.dictionaries(st.sampled_from(sorted(NODE)), st.sampled_from([*NODE.values(), "b"]), max_size=2)

documents = st.fixed_dictionaries(
    {
        "stage": st.sampled_from(Stage),
        "namespace": st.fixed_dictionaries({"name": odd, "labels": clear | any_labels}),
        "subject": st.fixed_dictionaries(
            {
                "name": odd,
                "labels": any_labels,
                "labels_before": maybe(any_labels),
                "submitter": st.sampled_from(PEOPLE),
                "authors": few(st.sampled_from(PEOPLE)),
                "justified": maybe(st.booleans()),
                "gated": maybe(st.booleans()),
            }
        ),
        "site": st.just({"residencies": PLACES, "regimes": ("trial",)}),
    },
    optional={
        "datasets": few(dataset),
        "base_model": maybe(model),
        "adapter": maybe(adapter),
        "images": few(st.sampled_from([f"a@{DIGEST}", "a:latest"]) | odd),
        "trackers": few(addresses),
        "judges": few(addresses),
        "data_report": st.fixed_dictionaries(
            {"examples": counts, "task_minimum": counts, "duplicates": counts, "evaluation_overlap": counts}
        ),
        "review": maybe(st.fixed_dictionaries({"rows": counts, "report_digest": st.sampled_from([DIGEST, OTHER])})),
        "scan": st.fixed_dictionaries({"profile": st.sampled_from(ScanProfile), "entire": st.booleans(), "hits": few(hit)}),
        "nodes": maybe(few(nodes)),
        "bound_node": maybe(nodes),
        "egress": maybe(st.sampled_from(Probe)),
        "api_token": maybe(st.booleans()),
        "reads": few(st.fixed_dictionaries({"field": st.just("data"), "sealed": st.just(DIGEST), "read": digests.map(str)})),
        "gates": few(
            st.fixed_dictionaries({"name": st.just("gate"), "verdict": st.sampled_from(Verdict), "items_to_decide": maybe(counts)})
        ),
        "model_server": maybe(clear | any_labels),
        "recorded": maybe(classifications),
        "approvals": few(approval, 6),
        "unreadable_approvals": few(odd),
        "accepted_under": few(st.sampled_from(["a", "b", "gone"])),
    },
)
by_name = {field.alias: name for name, field in Facts.model_fields.items()}
compliant = {by_name[alias]: value for alias, value in FACTS.items()}


def at_level(document: dict[str, Any], level: Level) -> dict[str, Any]:
    """The document with job and data at this level."""
    subject = {**document["subject"], "labels": {**LABELS, LEVEL: level.value}}
    sources = [{**compliant["datasets"][0], "classification": {**CLASSIFIED, "level": level}}]
    return {**document, "subject": subject, "datasets": sources}


@st.composite
def near(draw: st.DrawFn) -> dict[str, Any]:
    """The compliant job with a few things changed, so that what one of them does is not lost among other refusals."""
    other, changes = draw(documents), draw(st.sets(st.sampled_from(sorted(compliant)), max_size=1))
    given = [
        {"stage": stage, "approver": name, "subject_digest": DIGEST, "given_at": NOW}
        for stage in ApprovalStage
        for name in ("bob", "carol")
    ]
    varied = {
        **compliant,
        **{name: other[name] for name in changes if name in other},
        "gates": [{"name": "gate", "verdict": draw(st.sampled_from([Verdict.PASS, Verdict.FAIL]))}],
        "scan": {"profile": "IdentifiersAndNames", "entire": draw(st.booleans())},
        "approvals": draw(few(st.sampled_from(given), 6)),
        "accepted_under": draw(few(st.sampled_from(["a", "b"]), 1)),
    }
    subject = {**compliant["subject"], "gated": draw(maybe(st.booleans()))}
    return at_level({**varied, "subject": subject}, draw(levels))


facts = (documents | near()).map(Facts.model_validate)

lists = {
    "zones": st.sampled_from([*PLACES, "*"]),
    "data_sources": st.sampled_from(["pvc://clean", "hf://a", "*"]),
    "tracker_hosts": st.sampled_from(["mlflow.site", "*"]),
    "judge_hosts": st.sampled_from(["mlflow.site", "*"]),
}
stated = st.fixed_dictionaries(
    {"uri": st.sampled_from(["pvc://clean/a", "hf://a/b"]), "licence": keys}, optional={"digest": st.sampled_from([DIGEST, OTHER])}
)
terms = st.sampled_from(["MIT", LLAMA, "Copyleft", "Permissive", "*"])
networks = st.fixed_dictionaries(
    {
        "allow": few(
            st.fixed_dictionaries(
                {
                    "cidr": st.sampled_from(["10.0.0.0/8", "10.1.0.0/16", "10.1.2.0/24", "fd00::/8", "0.0.0.0/0"]),
                    "ports": st.sets(st.sampled_from([22, 443, 5000]), min_size=1).map(tuple),
                }
            ),
            3,
        ),
        "dns": st.sampled_from(Dns),
    }
)
policy_documents = st.fixed_dictionaries(
    {
        "name": st.sampled_from(["a", "b", "c", "d"]),
        "mode": st.sampled_from([Mode.ENFORCE, Mode.ENFORCE, Mode.AUDIT]),
        "match": st.fixed_dictionaries(
            {},
            optional={
                "namespace_labels": st.just({"finetune.dev/governed": "true"}),
                "min_level": levels,
                "regimes": few(st.sampled_from(REGIMES)),
            },
        ),
    },
    optional={
        **{name: maybe(few(entries, 3)) for name, entries in lists.items()},
        "node_labels": few(st.just({"key": "gpu.node-restriction.kubernetes.io/class", "values": ("a",)}), 1),
        "require_digests": maybe(st.booleans()),
        "purposes": maybe(few(st.sampled_from(["triage", "ads"]))),
        "licences": st.fixed_dictionaries(
            {"allow": maybe(few(terms)), "conditional": few(terms, 1), "deny": few(terms, 1)}, optional={"stated": few(stated)}
        ),
        "scan": maybe(st.sampled_from(ScanProfile)),
        "quality": maybe(st.fixed_dictionaries({"min_examples": counts, "waivable": st.booleans()})),
        "egress": maybe(st.sampled_from(Egress)),
        "network": networks,
        "runtime_class_name": maybe(st.sampled_from(["kata", "gvisor"])),
        "approvals": few(
            st.fixed_dictionaries(
                {
                    "stage": st.sampled_from([ApprovalStage.TRAIN, ApprovalStage.PROMOTE]),
                    "min_level": levels,
                    "count": st.integers(1, 3),
                    "valid_for_seconds": maybe(st.just(7200)),
                }
            )
        ),
        "review": maybe(st.fixed_dictionaries({"rows": st.integers(1, 50)})),
        "waiver_approvals": st.integers(1, 3),
        "require_evaluation": maybe(st.booleans()),
        "require_justification": st.booleans(),
        "require_proofs": maybe(st.booleans()),
    },
)
policy_names = {field.alias: name for name, field in Policy.model_fields.items()}
strict = {policy_names[alias]: value for alias, value in POLICY.items()}


@st.composite
def near_policies(draw: st.DrawFn) -> dict[str, Any]:
    other, changes = draw(policy_documents), draw(st.sets(st.sampled_from(sorted(strict)), max_size=2))
    some: dict[str, Any] = {
        "match": {"min_level": draw(levels), "regimes": draw(st.sampled_from([(), ("phi",)]))},
        "approvals": draw(st.sampled_from([strict["approvals"], ()])),
        "name": other["name"],
        "waiver_approvals": draw(st.integers(1, 3)),
    }
    some |= {name: draw(st.sampled_from([strict[name], None, ("*",)])) for name in lists}
    return {**strict, **some, **{name: other[name] for name in changes if name in other}}


policies = (policy_documents | near_policies()).map(Policy.model_validate)


def bound(question: Facts, rules: list[Policy]) -> Facts:
    """The same facts, with every approval given for the very decision that is asked for."""
    digest = decide(question, rules, NOW).digest
    return question.model_copy(
        update={"approvals": tuple(entry.model_copy(update={"subject_digest": digest}) for entry in question.approvals)}
    )
