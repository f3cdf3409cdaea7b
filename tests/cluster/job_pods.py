"""What kubelet and Job controller write when the one container of a Job's pod ends: here a test says how."""

from contextlib import suppress
from typing import Any

from finetune_testbed.apiserver import MERGE, ApiServer, RequestError
from tests.cluster.finetunejobs import Object, Place

MOMENT = "2026-11-22T12:00:00Z"


def end_job(server: ApiServer, place: Place, job: Object, code: int, words: str) -> None:
    """The pod is there and has ended with this exit code and termination message, and with it the Job; twice is once."""
    metadata, template = job["metadata"], job["spec"]["template"]
    owner = {"apiVersion": "batch/v1", "kind": "Job", "name": metadata["name"], "uid": metadata["uid"], "controller": True}
    pod, (container,) = f"{metadata['name']}-pod", template["spec"]["containers"]
    document = {
        "metadata": {"name": pod, "labels": template["metadata"]["labels"], "ownerReferences": [owner]},
        "spec": {"containers": [{"name": container["name"], "image": "registry.invalid/none:0"}]},
    }
    with suppress(RequestError):
        server.request("POST", place.path("pods"), document)
    ended = {"name": container["name"], "image": "x", "imageID": "", "ready": False, "restartCount": 0}
    state = {"terminated": {"exitCode": code, "message": words}}
    status = {"phase": "Succeeded" if not code else "Failed", "containerStatuses": [{**ended, "state": state}]}
    server.request("PATCH", place.path("pods", pod) + "/status", {"status": status}, MERGE)
    path = place.path("jobs", metadata["name"], group="batch/v1") + "/status"
    server.request("PATCH", path, {"status": _ended(failed=bool(code))}, MERGE)


def _ended(*, failed: bool) -> dict[str, Any]:
    kinds = ("FailureTarget", "Failed") if failed else ("SuccessCriteriaMet", "Complete")
    conditions = [{"type": kind, "status": "True", "lastTransitionTime": MOMENT, "reason": "Ended"} for kind in kinds]
    times: dict[str, Any] = {"startTime": MOMENT} if failed else {"startTime": MOMENT, "completionTime": MOMENT}
    return {"conditions": conditions, "failed" if failed else "succeeded": 1, **times}
