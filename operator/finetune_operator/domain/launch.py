"""Beginning an attempt: its Job is created, unless something is in the way or the API server has just refused it.

Jobs are created before the status write that records them, under names that follow from status: a crash in between leads to the same names
again. Nothing is created while an earlier Job or pod of this object is still on its way out.

Resources and queue of an attempt are those of the present spec. Resources stand in the run's immutable document too: before an attempt that
differs in them from the one before, the document goes, and a run without a recorded placement brings it (again).
"""

from finetune_operator.api.reasons import Reason
from finetune_operator.api.run import CurrentRun, Interruption
from finetune_operator.api.spec import FineTuneJobSpec
from finetune_operator.domain.activity import Activity, ActivityKind, reason_named, starting
from finetune_operator.domain.draft import Draft
from finetune_operator.domain.governance import agreements
from finetune_operator.domain.governance.recording import record_of
from finetune_operator.domain.observed import REJECTION_SECONDS
from finetune_operator.domain.plan import Child
from finetune_operator.domain.trouble import of_quota
from finetune_operator.manifests.configmap import build_config_map
from finetune_operator.manifests.job import Attempt, build_job
from finetune_operator.manifests.labels import classification_labels
from finetune_operator.manifests.names import CLEAN, job_name, run_hash
from finetune_operator.manifests.networkpolicy import Enclosed, build_network_policy, holds
from finetune_operator.manifests.pod import PodEnvironment
from finetune_operator.manifests.preflight import GivenOrder
from finetune_operator.manifests.runspec import build_run_spec
from finetune_operator.manifests.tokens import progress_token_digest
from finetune_trainer.contract import Step, canonical_json, digest_of
from finetune_trainer.contract.governance.containment import Containment
from finetune_trainer.contract.governance.order import order_of

_MESSAGE_LIMIT = 2000


def begin(draft: Draft, run: CurrentRun, spec: FineTuneJobSpec) -> None:
    """Create the Job of the next attempt, unless something is in its way; the first one brings the ConfigMap."""
    target = job_name(run.name, run.active_step.value, run.attempt + 1)
    in_the_way = _in_the_way(draft, run, target)
    if in_the_way is not None:
        draft.activity = in_the_way
        return
    pause = run.interruption
    if pause is not None and pause.until is not None and pause.until > draft.scene.now:
        draft.activity = Activity(
            ActivityKind.DELAYED, reason_named(pause.reason), f"{pause.message.rstrip('. ')}; the next attempt begins at {_clock(pause)}"
        )
        draft.wake_in((pause.until - draft.scene.now).total_seconds())
        return
    refused = _refused(draft, run, target)
    if refused is not None:
        draft.activity = refused
        return
    placement = placement_of(spec)
    if run.placement not in (None, placement):
        _move(draft, run, spec)
        return
    record = record_of(draft, run, spec) if run.active_step is Step.PUBLISH else None
    if isinstance(record, Activity):
        draft.activity = record
        return
    shut_in(draft, run)
    if run.placement is None:
        draft.creates.append(Child(config_map(draft, run, spec)))
        draft.check_resource = not draft.scene.subject.new(draft.scene.now)
    if draft.scene.job_named(target) is None:
        attempt = Attempt(run.key, run.name, run.active_step, run.attempt + 1, _override(run), _sealed(draft, run), _order(draft, run))
        signed = record.signed if record is not None else None
        draft.creates.append(Child(build_job(draft.scene.owner, spec, attempt, pod_environment(draft, run), signed)))
    draft.run = run.model_copy(
        update={
            "attempt": run.attempt + 1,
            "attempt_started_at": None,
            "sealed_before": run.last_sealed_step,
            "placement": placement,
            "record": record.place if record is not None else None,
            "agreements": agreements.counted(draft) if run.active_step is Step.TRAIN else run.agreements,
        }
    )
    draft.activity = Activity(ActivityKind.STARTING, *starting(draft.run))


def shut_in(draft: Draft, run: CurrentRun) -> None:
    """Have the network policy of a closed run made, and put back where somebody changed it. What was closed once stays so for the run."""
    view, containment = draft.scene.observed.governance, draft.containment
    if view is None or containment is None or not containment.closed or draft.scene.rejection_of(run.name) is not None:
        return
    enclosed = Enclosed(run.key, run.name, _classification(draft))
    wanted = build_network_policy(draft.scene.owner, enclosed, containment, draft.scene.settings.operator_namespace)
    if not holds(view.network_policies.get(run.name), wanted):
        draft.applies.append(Child(wanted))


def placement_of(spec: FineTuneJobSpec) -> str:
    """What the spec says about where an attempt runs; a field that is added later, with a default, changes nothing."""
    document = {"resources": spec.resources.model_dump(mode="json", exclude_defaults=True), "queueName": spec.queue_name}
    return digest_of(canonical_json(document).encode())


def pod_environment(draft: Draft, run: CurrentRun | None) -> PodEnvironment:
    """The image is the run's: a resume under another version of the trainer would be refused."""
    settings, containment = draft.scene.settings, draft.containment or Containment()
    return PodEnvironment(
        image=(run.image if run is not None else None) or settings.trainer_image,
        image_pull_policy=settings.image_pull_policy,
        image_pull_secrets=settings.image_pull_secrets,
        finished_job_ttl_seconds=settings.finished_job_ttl_seconds,
        classification=_classification(draft),
        containment=containment,
        probe=settings.egress_probe if containment.closed else None,
    )


def config_map(draft: Draft, run: CurrentRun, spec: FineTuneJobSpec) -> dict[str, object]:
    owner = draft.scene.owner
    digest = progress_token_digest(draft.scene.settings.progress_key, owner.uid, run.key)
    document = build_run_spec(owner, spec, key=run.key, name=run.name, number=run.number, token_digest=digest)
    return build_config_map(owner, document, _classification(draft))


def _classification(draft: Draft) -> dict[str, str]:
    return classification_labels(draft.governance.classification if draft.governance is not None else None)


def _move(draft: Draft, run: CurrentRun, spec: FineTuneJobSpec) -> None:
    """The document goes in the decision that records the new resources, and comes again in the next one."""
    draft.check_resource = True
    draft.delete_config_map(run.name)
    draft.run = run.model_copy(update={"placement": None, "declared_spec": canonical_json(spec.to_manifest())})
    draft.activity = Activity(ActivityKind.STARTING, *starting(run.model_copy(update={"attempt": run.attempt + 1})))
    draft.wake_in(0.1)


def _in_the_way(draft: Draft, run: CurrentRun, target: str) -> Activity | None:
    """Jobs and pods that must be gone first: at most one of an object's attempts runs at any time."""
    mark = run_hash(draft.scene.owner.uid, run.key)
    for job in draft.scene.jobs:
        if job.place.step == CLEAN:
            if job.place.run == mark:  # also once it has ended: what is swept with it must not be taken for the new run's
                return _stopping(f"waits for Job {job.reference.name} to remove the files of the earlier run")
        elif (job.active and job.reference.name != target) or (job.terminating and job.reference.name == target):
            draft.delete(job)
            return _stopping(f"waits for Job {job.reference.name} to end")
    names = {(job.place.run, job.place.step, job.place.attempt) for job in draft.scene.jobs if not job.terminating}
    for pod in draft.scene.pods:
        place = (pod.place.run, pod.place.step, pod.place.attempt)
        if not pod.ended and pod.place.step != CLEAN and (pod.terminating or place not in names):
            return _stopping(f"waits for pod {pod.reference.name} to end" + (f" on node {pod.node}" if pod.node else ""))
    return None


def _refused(draft: Draft, run: CurrentRun, target: str) -> Activity | None:
    rejection = draft.scene.rejection_of(target) or draft.scene.rejection_of(run.name)
    if rejection is None:
        return None
    draft.wake_in(REJECTION_SECONDS - (draft.scene.now - rejection.at).total_seconds())
    thing = f"{rejection.target.kind} {rejection.target.name}"
    if rejection.kind == "NameTaken":
        text = f"{thing} exists and belongs to somebody else. Delete or rename it."
        return Activity(ActivityKind.BLOCKED, Reason.NAME_TAKEN, text)
    evidence = "; ".join(rejection.causes) or rejection.message
    quota = of_quota(evidence, "")
    if quota is not None:
        return Activity(ActivityKind.BLOCKED, Reason.QUOTA_EXCEEDED, f"{thing}: {quota}"[:_MESSAGE_LIMIT])
    reason = Reason.FORBIDDEN if rejection.kind == "Forbidden" else Reason.CHILD_REFUSED
    return Activity(ActivityKind.BLOCKED, reason, f"the API server refuses {thing}: {evidence}"[:_MESSAGE_LIMIT])


def _sealed(draft: Draft, run: CurrentRun) -> tuple[str, str] | None:
    """Of a governed run what prepare has found, as status remembers it and not as the volume says it."""
    data, base = run.inputs.dataset_digest, run.inputs.base_digest
    return (data, base) if draft.governance is not None and data is not None and base is not None else None


def _order(draft: Draft, run: CurrentRun) -> GivenOrder | None:
    """Of a governed run by what it is let begin, for its pod to decide again: facts and policies of the decision just made."""
    view, facts = draft.scene.observed.governance, draft.facts
    if view is None or facts is None:
        return None
    nodes = view.nodes if draft.containment is not None and draft.containment.nodes else {}
    return GivenOrder(order_of(facts, view.policies, draft.scene.now, run_key=run.key, nodes=nodes).to_json())


def _override(run: CurrentRun) -> int | None:
    """The micro-batch only after an out-of-memory; before it, prepare's own choice stands in the sealed plan."""
    return run.micro_batch_size if run.retries.out_of_memory or run.retries.host_out_of_memory else None


def _stopping(message: str) -> Activity:
    return Activity(ActivityKind.STOPPING, Reason.RUN_PENDING, message)


def _clock(pause: Interruption) -> str:
    return pause.until.strftime("%H:%M:%S UTC") if pause.until is not None else "once"
