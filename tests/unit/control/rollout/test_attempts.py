"""The Jobs of a deployment, their pods and what is complained of, as decisions see them."""

from typing import Any

from finetune_operator.cluster.projections import project_event
from finetune_operator.control.rollout.cache import ServingCache
from finetune_operator.control.rollout.observe import observe
from finetune_operator.control.rollout.readings import Readings
from finetune_operator.control.rollout.schemas import NO_SCHEMA
from finetune_operator.domain.rollout.observed import RolloutObserved, RolloutSettings
from finetune_operator.manifests.names import Owner
from finetune_operator.manifests.serving import CheckOrder, build_check_job
from tests.serving.rollout.world import NOON
from tests.unit.control.rollout.samples import DIGEST, KEY, Object, deployment
from tests.unit.manifests.serving.samples import FULL, SETTINGS, read

MINE = Owner(KEY.namespace, KEY.name, "uid-bot")
NAMESAKE = Owner(KEY.namespace, KEY.name, "uid-of-one-before")


def job_and_pod(owner: Owner) -> tuple[Object, Object]:
    job: Object = dict(build_check_job(owner, read(FULL), CheckOrder(1, "pvc://adapters/a", DIGEST), SETTINGS))
    job["metadata"] |= {"uid": f"job-{owner.uid}", "resourceVersion": "1"}
    reference = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "name": job["metadata"]["name"],
        "uid": job["metadata"]["uid"],
        "controller": True,
    }
    metadata = {
        "namespace": "ns",
        "name": f"{owner.uid}-x",
        "uid": f"pod-{owner.uid}",
        "resourceVersion": "1",
        "ownerReferences": [reference],
    }
    ended = [{"name": name, "state": {"terminated": {"exitCode": code, "message": name}}} for name, code in (("sidecar", 7), ("check", 3))]
    labels = job["metadata"]["labels"]
    return job, {"metadata": {**metadata, "labels": labels}, "spec": {}, "status": {"phase": "Failed", "containerStatuses": ended}}


def look(cache: ServingCache, events: list[Object]) -> RolloutObserved:
    resource = deployment()
    cache.deployments.put(resource)
    readings = Readings(None)  # type: ignore[arg-type]  nobody is asked
    warnings = {event["involvedObject"]["uid"]: [event] for event in events}

    def said(uid: str) -> list[Object]:
        return warnings.get(uid, [])

    return observe(cache, readings, KEY, resource, RolloutSettings(), schema=NO_SCHEMA, refusal="", warnings=said, now=NOON)


def test_a_check_is_seen_with_its_pod_and_a_namesakes_is_not() -> None:
    cache = ServingCache(lambda _key: None)
    for owner in (MINE, NAMESAKE):
        job, pod = job_and_pod(owner)
        cache.jobs.put(job)
        cache.pods.put(pod)
    seen = look(cache, [])
    (attempt,) = seen.checks
    assert seen.merges == ()
    assert seen.pods == (), "it serves nothing"
    assert attempt.job.reference.uid == f"job-{MINE.uid}"
    assert (attempt.job.place.step, attempt.job.place.attempt) == ("check", 1)
    assert attempt.pod is not None
    assert (attempt.pod.exit_code, attempt.pod.termination_message) == (3, "check")


def test_what_the_cluster_complains_about_of_a_check_is_kept_and_told() -> None:
    job, _ = job_and_pod(MINE)
    concerned: dict[str, Any] = {"kind": "Job", "namespace": "ns", "name": job["metadata"]["name"], "uid": job["metadata"]["uid"]}
    raw = {"metadata": {"name": "e", "namespace": "ns"}, "type": "Warning", "involvedObject": concerned, "reason": "FailedCreate"}
    event = project_event({**raw, "message": "exceeded quota", "lastTimestamp": "2026-11-22T10:00:00Z"})
    assert event is not None
    cache = ServingCache(lambda _key: None)
    cache.jobs.put(job)
    (attempt,) = look(cache, [event]).checks
    assert [warning.message for warning in attempt.warnings] == ["exceeded quota"]
