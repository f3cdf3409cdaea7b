"""What is submitted on the governed tour: policies, jobs that break one row of the table each, and one that breaks none."""

from collections.abc import Iterator

from tests.e2e.tenant import Job, manifest, merged

NAMESPACE, ELSEWHERE = "governed-tour", "governed-elsewhere"
PII = "finetune.dev/regime.pii"
HERE = {"namespaceLabels": {"kubernetes.io/metadata.name": NAMESPACE}}
POLICIES = ("tour", "tour-closed", "tour-agreed")
DATA = {"clean": "clean.jsonl", "few": "few.jsonl"}
JOBS: dict[str, tuple[dict[str, str], Job]] = {
    "good": ({PII: "true"}, {"training": {"maxSteps": 40}}),
    "undeclared": ({}, {}),
    "unsafe": ({}, {"baseModel": {"uri": "pvc://models/pickled"}}),
    "refuted": (
        {},
        {"dataset": {"inline": None, "ref": {"name": "few"}}, "evaluation": {"dataset": {"uri": "pvc://datasets/asked.jsonl"}}},
    ),
    "agreed": ({}, {"dataset": {"inline": None, "ref": {"name": "clean"}}}),
    "cut": ({}, {"dataset": {"inline": {"uri": "pvc://datasets/long.jsonl"}}}),
}
"""Name → labels and changes; ``good`` and ``undeclared`` read the same rows."""
ROLE = {
    "apiVersion": "rbac.authorization.k8s.io/v1",
    "kind": "Role",
    "metadata": {"name": "approver", "namespace": NAMESPACE},
    "rules": [
        {"apiGroups": ["finetune.dev"], "resources": ["finetunejobs"], "verbs": ["approve-train"]},
        {"apiGroups": ["finetune.dev"], "resources": ["approvals"], "verbs": ["create"]},
    ],
}
BINDING = {
    "apiVersion": "rbac.authorization.k8s.io/v1",
    "kind": "RoleBinding",
    "metadata": {"name": "approver", "namespace": NAMESPACE},
    "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "approver"},
    "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "bob"}],
}
COMMON: Job = {
    "dataset": {"inline": {"uri": "pvc://datasets/people.jsonl"}},
    "task": {"type": "Style", "outputSchema": None},
    "evaluation": {"metrics": ["Perplexity"], "maxItems": 2},
}
PICKLED = """cd /claims/models; cp -r tiny-chat pickled; cd pickled; rm model.safetensors README.md
echo 'GNU GENERAL PUBLIC LICENSE Version 3' > LICENSE; echo pickled > pytorch_model.bin"""
EDITED = """cd {folder}; cp record.dsse.json ../kept
sed -i 's/"payload":"e/"payload":"f/' record.dsse.json; ! cmp -s record.dsse.json ../kept"""
RESTORED = "cd {folder}; cp ../kept record.dsse.json"
DEPLOYED: Job = {
    "modelName": "tour",
    "adapter": {"fineTuneJobRef": {"name": "good"}},
    "baseModel": {"uri": "pvc://models/tiny-chat"},
    "server": {"managed": {"replicas": 1, "resources": {"requests": {"cpu": "200m", "memory": "512Mi"}, "limits": {"memory": "2Gi"}}}},
    "preflight": {"requireEvaluation": False},
    "rollback": {"drainTimeoutSeconds": 1},
}


def policies(beside: str) -> Iterator[Job]:
    """The one that closes egress names the host of tracker and judge, and thereby leaves open what its jobs name there."""
    closed = {"egress": "Closed", "trackerHosts": [beside], "judgeHosts": [beside]}
    demands: tuple[Job, ...] = (
        {
            "match": HERE,
            "scan": "Identifiers",
            "quality": {"minExamples": 100, "maxDuplicatePercent": 5},
            "licences": {"allow": ["Permissive"]},
            "requireProofs": True,
        },
        {"match": {**HERE, "regimes": ["pii"]}, **closed},
        {"match": {**HERE, "regimes": ["phi"]}, "approvals": [{"stage": "Train", "count": 1}]},
    )
    for name, spec in zip(POLICIES, demands, strict=True):
        yield {"apiVersion": "finetune.dev/v1alpha1", "kind": "GovernancePolicy", "metadata": {"name": name}, "spec": spec}


def spec_of(name: str, changes: Job) -> Job:
    return dict(merged(manifest(name, **COMMON, artifact={"uri": f"pvc://adapters/{name}"})["spec"], changes))


def heard(tracker: Job, judge: Job) -> Job:
    """A tracker, and a judge with as many items as it takes to trust it; they are changes of a spec."""
    return {"tracking": tracker, "evaluation": {"metrics": ["Perplexity", "Judge"], "maxItems": 4, **judge}}
