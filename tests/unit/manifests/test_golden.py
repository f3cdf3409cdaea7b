"""The manifests themselves, to be read: a change of one is a change of what runs in users' clusters.

``python -m tests.unit.manifests.test_golden`` writes them anew.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from finetune_operator.api.spec import FineTuneJobSpec
from finetune_operator.manifests.configmap import build_config_map
from finetune_operator.manifests.egressprobe import EgressProbe
from finetune_operator.manifests.job import Attempt, ForgottenRun, build_clean_job, build_job
from finetune_operator.manifests.names import Owner, run_name
from finetune_operator.manifests.networkpolicy import Enclosed, build_network_policy
from finetune_operator.manifests.pod import PodEnvironment
from finetune_operator.manifests.preflight import GivenOrder
from finetune_operator.manifests.runspec import build_run_spec
from finetune_trainer.contract import Step
from finetune_trainer.contract.governance.containment import Containment
from finetune_trainer.contract.governance.policy import Destination, NodeRequirement
from finetune_trainer.contract.governance.vocabulary import LABEL_ZONE

GOLDEN = Path(__file__).parent / "golden"
OWNER = Owner("support", "ticket-router", "0b6e1c1e-1111-4222-8333-444455556666")
KEY = "ab" * 32
RUN = run_name(OWNER, KEY)
ENVIRONMENT = PodEnvironment(image="registry.example/trainer@sha256:" + "1" * 64, image_pull_secrets=("pull",))
SPEC = FineTuneJobSpec.model_validate(
    {
        "baseModel": {"uri": "pvc://models/tiny-chat"},
        "dataset": {"inline": {"uri": "pvc://tickets/2026/train.jsonl"}, "validation": {"uri": "pvc://tickets/2026/held-out.jsonl"}},
        "task": {"type": "Format", "outputSchema": {"configMapRef": {"name": "ticket-schema"}}},
        "tuner": {"type": "QLoRA"},
        "training": {"epochs": "1", "learningRate": "2e-4"},
        "evaluation": {"dataset": {"uri": "pvc://exam/items.jsonl"}, "gates": {"improvement": {"metric": "SchemaCompliance"}}},
        "resources": {
            "gpusPerNode": 2,
            "limits": {"memory": "64Gi", "ephemeral-storage": "20Gi"},
            "requests": {"cpu": 8},
            "nodeSelector": {"zone": "a"},
            "tolerations": [{"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}],
            "priorityClassName": "research",
            "runtimeClassName": "nvidia",
        },
        "queueName": "gpu-a100",
        "artifact": {"uri": "pvc://adapters/support/tickets"},
        "workspace": {"claimName": "scratch"},
    }
)
HUB = SPEC.model_copy(
    update={
        "base_model": SPEC.base_model.model_copy(update={"uri": "hf://org/model@main"}).replacing(credentials_secret_ref={"name": "hub"}),
        "workspace": None,
        "resources": FineTuneJobSpec.model_fields["resources"].get_default(),
    }
)


SHUT_IN: dict[str, Any] = {
    "containment": Containment(
        closed=True,
        allow=(Destination(cidr="10.0.0.0/24", ports=(443, 5000)),),
        cluster_dns=True,
        nodes=(NodeRequirement(key=LABEL_ZONE, values=("onprem-a",)),),
        runtime_class_name="kata",
    ),
    "probe": EgressProbe("192.0.2.1:443"),
}


ORDER = GivenOrder('{"kind":"GovernanceOrder"}')


def manifests() -> dict[str, Any]:
    document = build_run_spec(OWNER, SPEC, key=KEY, name=RUN, number=1, token_digest="sha256:" + "0" * 64)
    jobs = {step.value: build_job(OWNER, SPEC, Attempt(KEY, RUN, step, 1), ENVIRONMENT) for step in Step}
    return {
        "configmap": build_config_map(OWNER, document, {}),
        **jobs,
        "train-after-out-of-memory": build_job(OWNER, SPEC, Attempt(KEY, RUN, Step.TRAIN, 2, micro_batch_size=4), ENVIRONMENT),
        "prepare-from-the-hub": build_job(OWNER, HUB, Attempt(KEY, RUN, Step.PREPARE, 1), ENVIRONMENT),
        "train-from-the-hub-on-the-cpu": build_job(OWNER, HUB, Attempt(KEY, RUN, Step.TRAIN, 1), ENVIRONMENT),
        "prepare-shut-in": build_job(OWNER, SPEC, Attempt(KEY, RUN, Step.PREPARE, 1, order=ORDER), replace(ENVIRONMENT, **SHUT_IN)),
        "networkpolicy": build_network_policy(OWNER, Enclosed(KEY, RUN, {}), SHUT_IN["containment"], "finetune-system"),
        "clean": build_clean_job(OWNER, SPEC, ForgottenRun(KEY, RUN, "scratch"), ENVIRONMENT),
    }


def text_of(manifest: Any) -> str:
    return yaml.safe_dump(manifest, sort_keys=True, width=140)


@pytest.mark.parametrize("name", manifests())
def test_a_manifest_is_as_it_was_read_last(name: str):
    assert text_of(manifests()[name]) == (GOLDEN / f"{name}.yaml").read_text()


def test_no_golden_file_is_left_behind():
    assert {path.stem for path in GOLDEN.glob("*.yaml")} == set(manifests())


if __name__ == "__main__":
    for golden_name, golden_manifest in manifests().items():
        (GOLDEN / f"{golden_name}.yaml").write_text(text_of(golden_manifest))
