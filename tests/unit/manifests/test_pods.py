"""What holds for every pod of every run, whatever the spec says."""

from typing import Any

import pytest

from finetune_operator.api.spec import FineTuneJobSpec, JudgeSpec
from finetune_operator.manifests.failurepolicy import build_failure_policy
from finetune_operator.manifests.job import Attempt, build_job
from finetune_operator.manifests.names import Owner, job_name, label_value, run_name, work_folder
from finetune_operator.manifests.quantities import whole
from finetune_operator.manifests.runspec import build_run_spec
from finetune_operator.manifests.tokens import progress_token, progress_token_digest
from finetune_operator.manifests.volumes import claim_mounts, field_of_claim, work_claim
from finetune_trainer.contract import RunSpec, Step, digest_of
from tests.unit.domain.samples import SPEC as SAMPLE
from tests.unit.manifests.test_golden import ENVIRONMENT, HUB, KEY, OWNER, RUN, SPEC, manifests

JOBS = {name: manifest for name, manifest in manifests().items() if manifest["kind"] == "Job"}
ONE_CLAIM = FineTuneJobSpec.model_validate(
    {
        "baseModel": {"uri": "pvc://all/models/tiny"},
        "dataset": {"inline": {"uri": "pvc://all/data/train.jsonl"}},
        "artifact": {"uri": "pvc://all/adapters"},
    }
)


def pod_of(job: dict[str, Any]) -> dict[str, Any]:
    return job["spec"]["template"]["spec"]


@pytest.mark.parametrize("name", JOBS)
def test_pods_satisfy_the_restricted_level(name: str):
    pod = pod_of(JOBS[name])
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in (*pod.get("initContainers", []), *pod["containers"]):
        security = container["securityContext"]
        assert security["allowPrivilegeEscalation"] is False
        assert security["capabilities"] == {"drop": ["ALL"]}
        assert security["readOnlyRootFilesystem"] is True
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)
    kinds = {next(iter(set(volume) - {"name"})) for volume in pod["volumes"]}
    assert kinds <= {"configMap", "downwardAPI", "emptyDir", "persistentVolumeClaim", "secret"}


@pytest.mark.parametrize("name", JOBS)
def test_pods_hold_no_token_and_see_no_services(name: str):
    pod = pod_of(JOBS[name])
    assert pod["automountServiceAccountToken"] is False
    assert pod["enableServiceLinks"] is False
    assert "serviceAccountName" not in pod


@pytest.mark.parametrize("name", JOBS)
def test_children_are_controlled_by_their_object_and_carry_its_labels(name: str):
    metadata = JOBS[name]["metadata"]
    (reference,) = metadata["ownerReferences"]
    assert (reference["kind"], reference["uid"], reference["controller"], reference["blockOwnerDeletion"]) == (
        "FineTuneJob",
        OWNER.uid,
        True,
        True,
    )
    assert metadata["labels"]["app.kubernetes.io/managed-by"] == "finetune-operator"
    assert JOBS[name]["spec"]["template"]["metadata"]["labels"]["finetune.dev/run"] == RUN[-10:]


@pytest.mark.parametrize("name", [name for name in JOBS if name != "clean"])
def test_only_the_operator_retries(name: str):
    spec = JOBS[name]["spec"]
    assert spec["backoffLimit"] == 0
    assert spec["podReplacementPolicy"] == "Failed"
    assert pod_of(JOBS[name])["restartPolicy"] == "Never"


@pytest.mark.parametrize("name", JOBS)
def test_every_mount_has_its_volume_and_every_volume_its_mount(name: str):
    pod = pod_of(JOBS[name])
    containers = [*pod.get("initContainers", []), *pod["containers"]]
    assert {mount["name"] for each in containers for mount in each.get("volumeMounts", [])} == {volume["name"] for volume in pod["volumes"]}


@pytest.mark.parametrize("name", [name for name in JOBS if "initContainers" in pod_of(JOBS[name])])
def test_a_preflight_mounts_what_it_is_told_and_no_data_and_the_trainer_does_not_see_its_order(name: str):
    pod = pod_of(JOBS[name])
    (preflight,), (trainer,) = pod["initContainers"], pod["containers"]
    sources = {volume["name"]: next(iter(set(volume) - {"name"})) for volume in pod["volumes"]}
    assert {sources[mount["name"]] for mount in preflight["volumeMounts"]} == {"configMap", "downwardAPI"}
    assert all(mount["readOnly"] for mount in preflight["volumeMounts"])
    assert "order" not in {mount["name"] for mount in trainer["volumeMounts"]}


def test_only_the_train_step_holds_an_accelerator():
    for name, job in JOBS.items():
        resources = pod_of(job)["containers"][0]["resources"]
        asks = "nvidia.com/gpu" in resources.get("limits", {})
        assert asks == (name in ("train", "train-after-out-of-memory"))


def test_only_the_train_step_is_queued_and_chooses_its_node():
    for name, job in JOBS.items():
        trains = name.startswith("train")
        assert ("kueue.x-k8s.io/queue-name" in job["metadata"]["labels"]) == trains
        assert ("nodeSelector" in pod_of(job)) == (trains and "hub" not in name)


def test_only_prepare_sees_the_data_and_only_publish_the_destination():
    seen = {step: {mount.mount_path for mount in claim_mounts(OWNER, KEY, SPEC, step)} for step in Step}
    assert "/mnt/data" in seen[Step.PREPARE]
    assert "/mnt/data" not in seen[Step.TRAIN] | seen[Step.PUBLISH]
    assert [step for step in Step if "/artifact" in seen[step]] == [Step.PUBLISH]
    assert "/workspace" not in seen[Step.PUBLISH]


def test_the_work_folder_is_told_apart_by_object_and_run():
    mounts = claim_mounts(OWNER, KEY, SPEC, Step.TRAIN)
    folder = next(mount for mount in mounts if mount.mount_path == "/workspace")
    assert folder.sub_path == f".finetune/{OWNER.uid}/{KEY[:16]}" == work_folder(OWNER.uid, KEY)
    assert folder.claim == "scratch" == work_claim(SPEC)
    assert work_claim(HUB) == "adapters"


def test_a_claim_that_serves_several_purposes_is_one_volume():
    pod = pod_of(build_job(OWNER, ONE_CLAIM, Attempt(KEY, RUN, Step.PREPARE, 1), ENVIRONMENT))
    claims = [volume for volume in pod["volumes"] if "persistentVolumeClaim" in volume]
    assert claims == [{"name": "claim-1", "persistentVolumeClaim": {"claimName": "all"}}]
    mounts = {m["mountPath"]: m for m in pod["containers"][0]["volumeMounts"]}
    assert mounts["/mnt/data"]["readOnly"] is True
    assert "readOnly" not in mounts["/workspace"]


def test_credentials_are_mounted_where_the_base_model_is_fetched_and_nowhere_else():
    for step in Step:
        volumes = pod_of(build_job(OWNER, HUB, Attempt(KEY, RUN, step, 1), ENVIRONMENT))["volumes"]
        assert any("secret" in volume for volume in volumes) == (step is Step.PREPARE)


def test_what_opens_a_judge_is_mounted_where_it_is_asked_and_nowhere_else():
    judge = {"endpoint": "http://judge/v1", "model": "critic", "credentialsSecretRef": {"name": "judge"}}
    asking = SPEC.replacing(evaluation=SPEC.evaluation.model_copy(update={"judge": JudgeSpec.model_validate(judge)}))
    for step in Step:
        pod = pod_of(build_job(OWNER, asking, Attempt(KEY, RUN, step, 1), ENVIRONMENT))
        found = [volume["projected"]["sources"] for volume in pod["volumes"] if volume["name"] == "judge"]
        assert found == ([_SOURCES] if step is Step.TRAIN else [])


_SOURCES = [
    {"secret": {"name": "judge", "items": [{"key": "token", "path": "token"}]}},
    {"secret": {"name": "judge", "items": [{"key": "ca.crt", "path": "ca.crt"}], "optional": True}},
]


@pytest.mark.parametrize(
    ("claim", "field"), [("models", "spec.baseModel.uri"), ("exam", "spec.evaluation.dataset.uri"), ("scratch", "spec.workspace.claimName")]
)
def test_a_claim_leads_back_to_its_field(claim: str, field: str):
    assert field_of_claim(SPEC, claim) == field


def test_the_exit_codes_of_the_trainer_come_before_the_disruption():
    rules = build_failure_policy()["rules"]
    assert rules[0]["onExitCodes"]["values"] == [1, 64, 65, 66, 70, 71, 74, 75]
    assert rules[1]["onPodConditions"][0]["type"] == "DisruptionTarget"
    assert {rule["action"] for rule in rules} == {"FailJob"}


@pytest.mark.parametrize("name", ["a", "a" * 253, "a.b.c", "x" * 36 + "." + "y" * 20])
def test_names_of_children_are_dns_labels_of_bounded_length(name: str):
    owner = Owner("ns", name, "uid")
    run = run_name(owner, KEY)
    assert len(run) <= 45
    assert "." not in run
    assert len(job_name(run, Step.PUBLISH, 999)) + len("-abcde") <= 63, "what a Job adds to the names of its pods"
    assert len(label_value(name)) <= 63


def test_two_objects_of_one_name_never_share_a_run_name():
    assert run_name(Owner("ns", "a", "uid-1"), KEY) != run_name(Owner("ns", "a", "uid-2"), KEY)


def test_a_token_is_derived_and_only_its_hash_is_given_away():
    token = progress_token(b"k" * 32, OWNER.uid, KEY)
    assert len(token) == 64
    assert progress_token_digest(b"k" * 32, OWNER.uid, KEY) == digest_of(token.encode())
    assert progress_token(b"k" * 32, OWNER.uid, "cd" * 32) != token


class TestRunSpec:
    def test_fills_in_what_depends_on_other_fields(self):
        document = self.build(SPEC)
        assert document.tuner.lora is not None
        assert document.tuner.quantization is not None
        assert document.training.loss_on == "Assistant"
        assert document.task.output_schema_path == "/etc/finetune/schema/schema.json"

    def test_turns_uris_into_mounted_paths(self):
        document = self.build(SPEC)
        assert document.base_model.path == "/mnt/base/tiny-chat"
        assert document.dataset.path == "/mnt/data/2026/train.jsonl"
        assert document.validation.source is not None
        assert document.validation.source.path == "/mnt/validation/2026/held-out.jsonl"
        assert document.evaluation.source is not None
        assert document.evaluation.source.path == "/mnt/evaluation/items.jsonl"

    def test_leaves_a_model_of_the_hub_without_a_path(self):
        assert self.build(HUB).base_model.path is None

    def test_no_validation_share_is_none(self):
        wanted = FineTuneJobSpec.model_validate({**SAMPLE, "dataset": {**SAMPLE["dataset"], "validation": {"percent": 0}}})
        assert self.build(wanted).validation.percent is None

    def test_is_what_the_trainer_reads(self):
        document = self.build(SPEC)
        assert RunSpec.from_json(document.to_json()) == document

    @staticmethod
    def build(wanted: FineTuneJobSpec) -> RunSpec:
        return build_run_spec(OWNER, wanted, key=KEY, name=RUN, number=1, token_digest="sha256:" + "0" * 64)


@pytest.mark.parametrize(
    ("text", "number"),
    [("16Gi", 16 * 2**30), ("500m", 0), ("1.5G", 1_500_000_000), ("12", 12), ("1e3", 1000), ("2E", 2 * 10**18), (None, None)],
)
def test_quantities_are_read_as_kubernetes_reads_them(text: str | None, number: int | None):
    assert whole(text) == number


@pytest.mark.parametrize("text", ["", "x", "1.2.3Gi", "Gi"])
def test_what_is_no_quantity_is_refused(text: str):
    with pytest.raises(ValueError, match="quantity"):
        whole(text)
