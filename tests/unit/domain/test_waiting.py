"""What may keep an attempt from starting: a condition with field, evidence and next action, which clears by itself."""

from tests.unit.domain.samples import spec
from tests.unit.domain.world import World, begun, training, warn


def training_pending(**changes: object) -> World:
    """A world whose train Job exists, without a pod."""
    world = begun(**changes)
    world.step_through()
    return world


def test_no_node_with_a_gpu_says_what_is_waited_for_and_clears_by_itself():
    world = training_pending(resources={"gpusPerNode": 2, "nodeSelector": {"zone": "a"}})
    world.pend_pod("0/3 nodes are available: 3 Insufficient nvidia.com/gpu.")
    plan = world.reconcile()
    assert plan.requeue_after is not None
    assert plan.requeue_after <= 3, "a first refusal is given a moment"
    world.tick(4)
    world.settle()
    assert world.says("Admitted") == ("False", "WaitingForNode")
    assert world.says("Ready") == ("False", "WaitingForNode")
    assert world.says("Reconciling")[0] == "True"
    message = world.condition("Admitted")["message"]
    assert "2 x nvidia.com/gpu" in message
    assert "label zone=a" in message
    assert "Insufficient" in message
    world.run_pod()
    world.settle()
    assert world.says("Admitted") == ("True", "Admitted")


def test_a_missing_claim_names_the_field():
    world = begun()
    world.pend_pod('persistentvolumeclaim "tickets" not found')
    world.settle()
    assert world.says("Prepared") == ("False", "ClaimMissing")
    assert "spec.dataset.inline.uri" in world.condition("Prepared")["message"]


def test_an_image_that_cannot_be_pulled():
    world = begun()
    world.pend_pod(waiting=("ImagePullBackOff", 'Back-off pulling image "registry.example/trainer:1"'))
    world.settle()
    assert world.says("Prepared") == ("False", "WaitingForImage")
    assert "registry.example/trainer:1" in world.condition("Ready")["message"]


def test_kubelets_back_and_forth_about_an_image_is_one_write():
    world = begun()
    cause = "failed to resolve reference: not found"
    world.pend_pod(waiting=("ErrImagePull", cause))
    world.settle()
    before = world.writes
    for waiting in (
        ("ImagePullBackOff", f'Back-off pulling image "registry.example/trainer:1": ErrImagePull: {cause}'),
        ("ErrImagePull", cause),
    ):
        world.pend_pod(waiting=waiting)
        world.settle()
    assert world.writes == before
    assert cause in world.condition("Ready")["message"]


def test_a_quota_that_refuses_the_pod():
    world = begun()
    warn(world, world.active, "Job", "FailedCreate", 'Error creating: pods "x" is forbidden: exceeded quota: small, requested: cpu=1')
    world.settle()
    assert world.says("Prepared") == ("False", "QuotaExceeded")


def test_a_refusal_that_is_repeated_for_another_pod_name_is_one_write():
    world = begun()
    writes = []
    for name in ("x-abcde", "x-fghij"):
        warn(world, world.active, "Job", "FailedCreate", f'Error creating: pods "{name}" is forbidden: exceeded quota: small')
        world.tick()
        world.settle()
        writes.append(world.writes)
    assert writes[0] == writes[1]
    assert world.condition("Ready")["message"].startswith("the pod is forbidden")
    assert world.events.count("QuotaExceeded") == 1


def test_a_pod_that_pod_security_refuses():
    world = begun()
    warn(world, world.active, "Job", "FailedCreate", 'Error creating: pods "x" is forbidden: violates PodSecurity "restricted:latest"')
    world.settle()
    assert world.says("Prepared") == ("False", "Forbidden")


def test_a_missing_output_schema_names_the_field():
    world = begun()
    name = world.pend_pod()
    warn(world, f"{name}-x", "Pod", "FailedMount", 'MountVolume.SetUp failed for volume "schema" : configmap "ticket-schema" not found')
    world.settle()
    assert world.says("Prepared") == ("False", "ConfigMapMissing")
    assert "spec.task.outputSchema.configMapRef" in world.condition("Prepared")["message"]


def test_a_missing_secret_names_the_field():
    world = begun(baseModel={"uri": "hf://org/model@main", "credentialsSecretRef": {"name": "hub"}})
    name = world.pend_pod()
    warn(world, f"{name}-x", "Pod", "FailedMount", 'MountVolume.SetUp failed for volume "credentials" : secret "hub" not found')
    world.settle()
    assert world.says("Prepared") == ("False", "SecretMissing")
    assert "credentialsSecretRef" in world.condition("Prepared")["message"]


def test_a_missing_secret_of_a_judge_names_its_field_and_a_corrected_one_begins_again():
    judge = {"endpoint": "http://judge/v1", "model": "critic", "credentialsSecretRef": {"name": "judge"}}
    world = begun(evaluation__judge=judge)
    world.step_through()
    name = world.pend_pod()
    warn(world, f"{name}-x", "Pod", "FailedMount", 'MountVolume.SetUp failed for volume "judge" : secret "judge" not found')
    world.settle()
    assert world.says("Ready") == ("False", "SecretMissing")
    assert "spec.evaluation.judge.credentialsSecretRef" in world.condition("Ready")["message"]
    world.change(evaluation__judge={**judge, "credentialsSecretRef": {"name": "judge-2"}})
    world.clear()
    assert (world.run["generation"], world.run["activeStep"]) == (2, "prepare")
    world.step_through()
    assert "judge-2" in str(next(volume["projected"] for volume in world.pod_spec["volumes"] if volume["name"] == "judge"))


def test_a_volume_that_is_mounted_by_now_is_not_waited_for():
    world = begun()
    name = world.pend_pod()
    warn(world, f"{name}-x", "Pod", "FailedMount", "MountVolume.SetUp failed for volume claim-1: timed out")
    world.tick(5)
    plan = world.reconcile()
    assert world.says("Ready") == ("False", "WaitingForVolume")
    assert plan.requeue_after == 175, "kubelet would have said it again by then"
    world.tick(plan.requeue_after)
    world.settle()
    assert world.says("Ready") == ("False", "Preparing")


def test_the_runs_own_document_is_made_again():
    world = begun()
    run = world.run["name"]
    world.config_maps.clear()
    name = world.pend_pod()
    warn(world, f"{name}-x", "Pod", "FailedMount", f'MountVolume.SetUp failed for volume "run" : configmap "{run}" not found')
    world.settle()
    assert run in world.config_maps


def test_a_foreign_job_of_our_childs_name():
    world = training_pending()
    name = world.active
    other = World(spec=spec())
    other.taken = {name.replace("-train-1", "-prepare-1")}
    other.settle()
    assert other.says("Prepared") == ("False", "NameTaken")
    assert other.says("Stalled") == ("True", "NameTaken")
    assert "Delete or rename it" in other.condition("Ready")["message"]


def test_a_taken_name_is_tried_again_and_clears_by_itself():
    world = begun()
    name = world.active.replace("-prepare-1", "-train-1")
    world.taken = {name}
    world.end_pod()
    plan = world.reconcile()
    world.settle()
    assert world.says("Trained") == ("False", "NameTaken")
    assert world.run["attempt"] == 0
    assert plan.requeue_after is not None
    world.taken = set()
    world.tick(31)
    world.settle()
    assert world.active == name


def test_trouble_is_told_in_one_event_however_often_it_is_seen():
    world = begun()
    world.pend_pod(waiting=("ErrImagePull", "not found"))
    for _ in range(5):
        world.tick()
        world.settle()
    assert world.events.count("WaitingForImage") == 1


def test_an_object_that_does_not_fit_its_schema_names_the_field():
    world = World(spec=spec(tuner={"type": "LoRA", "lora": {"rank": "many"}}))
    world.settle()
    assert world.says("Accepted") == ("False", "InvalidSpec")
    assert world.says("Stalled") == ("True", "InvalidSpec")
    assert "spec.tuner.lora.rank" in world.condition("Ready")["message"]
    assert world.created == []


def test_a_run_goes_on_while_the_newer_spec_is_invalid():
    world = training()
    world.change(tuner={"type": "LoRA", "lora": {"rank": "many"}})
    world.settle()
    world.finish()
    assert world.history[0]["outcome"] == "Succeeded"
    assert world.says("Accepted") == ("False", "InvalidSpec")
