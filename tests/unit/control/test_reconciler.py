"""A plan is carried out in one order, once, and what the API server refuses comes back as a decision."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from finetune_operator.cluster.cache import ClusterCache, Key
from finetune_operator.cluster.errors import ApiError, Conflict, Forbidden, Invalid, NotFound, Unavailable
from finetune_operator.cluster.resources import FINETUNE_JOBS, JOBS, Resource
from finetune_operator.control.reconciler import Reconciler
from finetune_operator.control.result import Result
from finetune_operator.domain.observed import DomainSettings, Observed
from finetune_operator.domain.plan import Child, Deletion, EventNote, LiveChecks, ObjectReference, Plan

KEY = Key("ns", "router")
NOTE = EventNote("Normal", "Preparing", "Prepare", "the data are being read")
STATUS = {"phase": "Preparing"}


def resource(version: int = 10, uid: str = "u-1", generation: int = 1, status: dict[str, Any] | None = None) -> dict[str, Any]:
    metadata = {"namespace": "ns", "name": "router", "uid": uid, "generation": generation, "resourceVersion": str(version)}
    return {"apiVersion": "finetune.dev/v1alpha1", "kind": "FineTuneJob", "metadata": metadata, "spec": {}, "status": status or {}}


def job(name: str = "router-0123456789-prepare-1", owner: str = "u-1", version: int = 20) -> dict[str, Any]:
    references = [{"apiVersion": "finetune.dev/v1alpha1", "kind": "FineTuneJob", "name": "router", "uid": owner, "controller": True}]
    metadata = {"namespace": "ns", "name": name, "uid": f"uid-{name}", "resourceVersion": str(version), "ownerReferences": references}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": {}}


def reference(document: dict[str, Any]) -> ObjectReference:
    metadata = document["metadata"]
    return ObjectReference(document["apiVersion"], document["kind"], metadata["namespace"], metadata["name"], metadata["uid"])


class Server:
    """Objects by kind and name; ``log`` is the order of the requests; ``refusals`` are raised once each."""

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str], dict[str, Any]] = {}
        self.log: list[str] = []
        self.refusals: dict[str, ApiError] = {}
        self.version = 100

    def keep(self, document: dict[str, Any]) -> None:
        self.objects[document["kind"], document["metadata"]["name"]] = document

    def _enter(self, verb: str, kind: str) -> None:
        self.log.append(f"{verb} {kind}")
        error = self.refusals.pop(f"{verb} {kind}", None)
        if error is not None:
            raise error

    async def create(self, resource: Resource, manifest: dict[str, Any]) -> dict[str, Any]:
        self._enter("create", resource.kind)
        if (resource.kind, manifest["metadata"]["name"]) in self.objects:
            raise Conflict("already exists", status=409, reason="AlreadyExists")
        self.version += 1
        stored = {**manifest, "metadata": {**manifest["metadata"], "uid": "new", "resourceVersion": str(self.version)}}
        self.keep(stored)
        return stored

    async def get(self, resource: Resource, namespace: str | None, name: str) -> dict[str, Any]:
        self._enter("get", resource.kind)
        if (resource.kind, name) not in self.objects:
            raise NotFound("not found", status=404)
        return self.objects[resource.kind, name]

    async def delete(self, resource: Resource, namespace: str, name: str, *, uid: str, propagation: str = "Background") -> None:
        self._enter("delete", resource.kind)
        assert uid
        self.objects.pop((resource.kind, name), None)

    async def apply_status(self, resource: Resource, manifest: dict[str, Any]) -> dict[str, Any]:
        self._enter("status", resource.kind)
        found = self.objects.get((resource.kind, manifest["metadata"]["name"]))
        if found is None:
            raise NotFound("not found", status=404)
        if manifest["metadata"]["resourceVersion"] != found["metadata"]["resourceVersion"]:
            raise Conflict("stale", status=409, reason="Conflict")
        self.version += 1
        stored = {**found, "status": manifest["status"], "metadata": {**found["metadata"], "resourceVersion": str(self.version)}}
        self.keep(stored)
        return stored


class Silent:
    """Measures nothing, records into the server's log, and has no progress."""

    def __init__(self, server: Server) -> None:
        self.answers: dict[str, Any] = {}
        self._server = server

    async def record(self, regarding: dict[str, Any], note: EventNote) -> str:
        self._server.log.append(f"event {note.reason}")
        return "written"

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_args, **_kwargs: None


class Rig:
    """A reconciler whose decisions the test makes."""

    def __init__(self, *plans: Plan | Callable[[Observed], Plan]) -> None:
        self.server = Server()
        self.cache = ClusterCache(lambda _key: None)
        self.seen: list[Observed] = []
        self._plans = list(plans)
        silent = Silent(self.server)
        self.reconciler = Reconciler(
            self.server,
            self.cache,
            self._decide,
            settings=DomainSettings(trainer_image="x", progress_key=b"k" * 32),
            recorder=silent,  # type: ignore[arg-type]
            poller=silent,  # type: ignore[arg-type]
            measures=silent,
            now=lambda: datetime(2026, 11, 22, tzinfo=UTC),
        )
        self.put(resource())

    def put(self, document: dict[str, Any]) -> None:
        self.server.keep(document)
        self.cache.parents.put(document)

    def _decide(self, observed: Observed, now: datetime) -> Plan:
        self.seen.append(observed)
        plan = self._plans.pop(0) if self._plans else Plan()
        return plan if isinstance(plan, Plan) else plan(observed)

    async def once(self) -> Result:
        return await self.reconciler.reconcile(KEY)


async def test_live_checks_deletes_creates_status_events_in_that_order() -> None:
    old = job("router-0123456789-prepare-0")
    plan = Plan(
        live_checks=LiveChecks(resource=True),
        deletes=(Deletion(reference(old)),),
        creates=(Child(job()),),
        status=STATUS,
        events=(NOTE,),
        requeue_after=5.0,
    )
    rig = Rig(plan)
    rig.server.keep(old)
    result = await rig.once()
    assert rig.server.log == ["get FineTuneJob", "delete Job", "create Job", "status FineTuneJob", "event Preparing"]
    assert result == Result("ok", again_now=True, requeue_after=5.0)


async def test_an_empty_plan_asks_nothing_of_the_server() -> None:
    rig = Rig(Plan())
    assert await rig.once() == Result("idle")
    assert rig.server.log == []


async def test_a_status_that_differs_in_moments_alone_is_not_written() -> None:
    def status(moment: str) -> dict[str, Any]:
        return {"conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": moment}], "currentRun": {"updatedAt": moment}}

    rig = Rig(Plan(status=status("2026-11-22T10:00:01Z")))
    rig.put(resource(version=11, status=status("2026-11-22T10:00:00Z")))
    assert (await rig.once()).outcome == "idle"
    assert rig.server.log == []


async def test_conditions_are_written_in_one_order() -> None:
    rig = Rig(Plan(status={"conditions": [{"type": "Ready"}, {"type": "Accepted"}]}))
    await rig.once()
    stored = rig.server.objects["FineTuneJob", "router"]["status"]["conditions"]
    assert [condition["type"] for condition in stored] == ["Accepted", "Ready"]


async def test_what_is_empty_is_left_out_because_a_merge_would_make_it_null() -> None:
    rig = Rig(Plan(status={"phase": "Preparing", "history": [], "currentRun": {"number": 2, "inputs": {}, "retries": {"storage": 0}}}))
    await rig.once()
    assert rig.server.objects["FineTuneJob", "router"]["status"] == {
        "phase": "Preparing",
        "currentRun": {"number": 2, "retries": {"storage": 0}},
    }


async def test_what_was_created_is_seen_by_the_next_decision_before_any_watch_tells() -> None:
    rig = Rig(Plan(creates=(Child(job()),)), Plan())
    await rig.once()
    await rig.once()
    assert [found["metadata"]["name"] for found in rig.seen[1].jobs] == [job()["metadata"]["name"]]


async def test_our_own_child_that_exists_already_is_a_success() -> None:
    rig = Rig(Plan(creates=(Child(job()),), status=STATUS))
    rig.server.keep(job())
    assert (await rig.once()).outcome == "ok"
    assert rig.server.log == ["create Job", "get Job", "status FineTuneJob"]


@pytest.mark.parametrize(
    ("refusal", "kind"),
    [
        (Forbidden("exceeded quota: jobs", status=403, reason="Forbidden"), "Forbidden"),
        (Invalid("spec is bad", status=422, reason="Invalid"), "Invalid"),
    ],
)
async def test_a_refused_child_comes_back_into_the_decision_of_the_same_pass(refusal: ApiError, kind: str) -> None:
    rig = Rig(Plan(creates=(Child(job()),), status={"phase": "never"}), Plan(status={"phase": "refused"}))
    rig.server.refusals["create Job"] = refusal
    await rig.once()
    (rejection,) = rig.seen[1].rejections
    assert (rejection.kind, rejection.target.name) == (kind, job()["metadata"]["name"])
    assert rig.server.objects["FineTuneJob", "router"]["status"] == {"phase": "refused"}


async def test_a_foreign_object_of_our_childs_name_is_a_rejection_and_stays() -> None:
    rig = Rig(Plan(creates=(Child(job()),)), Plan())
    rig.server.keep(job(owner="somebody-else"))
    await rig.once()
    assert [rejection.kind for rejection in rig.seen[1].rejections] == ["NameTaken"]
    assert rig.server.log == ["create Job", "get Job"]


async def test_a_rejection_is_forgotten_when_the_write_succeeds() -> None:
    rig = Rig(Plan(creates=(Child(job()),)), Plan(), Plan(creates=(Child(job()),)), Plan())
    rig.server.refusals["create Job"] = Forbidden("quota", status=403)
    for _ in range(3):
        await rig.once()
    assert rig.seen[-1].rejections == ()


async def test_a_child_that_was_made_is_not_asked_for_again_while_its_status_cannot_be_written() -> None:
    plan = Plan(creates=(Child(job()),), status=STATUS)
    rig = Rig(plan, plan, plan)
    rig.server.refusals["status FineTuneJob"] = Unavailable("no answer")
    with pytest.raises(Unavailable):
        await rig.once()
    assert rig.reconciler.advanced == {KEY}
    await rig.once()
    assert rig.server.log == ["create Job", "status FineTuneJob", "status FineTuneJob"]
    assert rig.reconciler.advanced == set()
    rig.server.objects.pop(("Job", job()["metadata"]["name"]))
    await rig.once()
    assert rig.server.log.count("create Job") == 2, "once it is recorded, a later plan may ask for it anew"


async def test_a_child_that_was_deleted_is_made_anew_though_no_status_could_be_written_in_between() -> None:
    make, remove = Plan(creates=(Child(job()),), status=STATUS), Plan(deletes=(Deletion(reference(job()), "Background"),))
    rig = Rig(make, remove, make)
    rig.server.refusals["status FineTuneJob"] = Unavailable("no answer")
    with pytest.raises(Unavailable):
        await rig.once()
    await rig.once()
    await rig.once()
    assert rig.server.log == ["create Job", "status FineTuneJob", "delete Job", "create Job", "status FineTuneJob"]


async def test_a_write_that_failed_is_no_progress() -> None:
    rig = Rig(Plan(creates=(Child(job()),), status=STATUS))
    rig.server.refusals["create Job"] = Unavailable("connection reset")
    with pytest.raises(Unavailable):
        await rig.once()
    assert rig.reconciler.advanced == set()


async def test_an_unknown_outcome_is_an_error_and_not_a_rejection() -> None:
    rig = Rig(Plan(creates=(Child(job()),), status=STATUS))
    rig.server.refusals["create Job"] = Unavailable("connection reset")
    with pytest.raises(Unavailable):
        await rig.once()
    assert "status FineTuneJob" not in rig.server.log


@pytest.mark.parametrize("live", [resource(version=11, generation=2), resource(version=11, uid="u-2")])
async def test_a_live_object_that_is_another_drops_the_plan_and_decides_anew(live: dict[str, Any]) -> None:
    rig = Rig(Plan(live_checks=LiveChecks(resource=True), creates=(Child(job()),)), Plan())
    rig.server.keep(live)
    await rig.once()
    assert rig.server.log == ["get FineTuneJob"]
    assert rig.seen[1].resource["metadata"]["resourceVersion"] == "11"


async def test_an_object_that_is_gone_ends_the_key() -> None:
    rig = Rig(Plan(live_checks=LiveChecks(resource=True), creates=(Child(job()),)))
    rig.server.objects.clear()
    assert (await rig.once()).outcome == "gone"
    assert KEY not in rig.cache.parents


async def test_a_status_write_that_finds_nobody_ends_the_key_without_events() -> None:
    rig = Rig(Plan(status=STATUS, events=(NOTE,)))
    rig.server.objects.clear()
    assert (await rig.once()).outcome == "gone"
    assert rig.server.log == ["status FineTuneJob"]


async def test_events_are_not_recorded_when_the_status_write_fails() -> None:
    rig = Rig(Plan(status=STATUS, events=(NOTE,)))
    rig.server.refusals["status FineTuneJob"] = Unavailable("no answer")
    with pytest.raises(Unavailable):
        await rig.once()
    assert rig.server.log == ["status FineTuneJob"]


async def test_a_conflict_fetches_the_object_so_that_the_next_pass_succeeds() -> None:
    rig = Rig(Plan(status=STATUS), Plan(status=STATUS))
    rig.server.keep(resource(version=50))
    with pytest.raises(Conflict):
        await rig.once()
    assert (await rig.once()).outcome == "ok"


async def test_a_status_somebody_else_wrote_since_the_decision_is_never_overwritten() -> None:
    rig: Rig

    def decide(_observed: Observed) -> Plan:
        theirs = resource(version=11, status={"phase": "Training"})
        rig.server.keep(theirs)
        rig.cache.parents.put(theirs)
        return Plan(status=STATUS)

    rig = Rig(decide, Plan())
    with pytest.raises(Conflict):
        await rig.once()
    assert rig.server.objects["FineTuneJob", "router"]["status"] == {"phase": "Training"}


async def test_a_job_the_cache_missed_is_no_deleted_job() -> None:
    rig = Rig(Plan(live_checks=LiveChecks(absent=(reference(job()),)), status={"phase": "lost"}), Plan())
    rig.server.keep(job())
    await rig.once()
    assert rig.server.log == ["get Job"]
    assert rig.seen[1].jobs


async def test_a_deletion_without_uid_reads_first_and_spares_what_is_not_ours() -> None:
    foreign = job(owner="somebody-else")
    rig = Rig(Plan(deletes=(Deletion(ObjectReference("batch/v1", "Job", "ns", foreign["metadata"]["name"])),)))
    rig.server.keep(foreign)
    await rig.once()
    assert rig.server.log == ["get Job"]


def test_the_kinds_are_where_the_api_server_expects_them() -> None:
    assert FINETUNE_JOBS.path("ns", "a", "status") == "/apis/finetune.dev/v1alpha1/namespaces/ns/finetunejobs/a/status"
    assert JOBS.path("ns") == "/apis/batch/v1/namespaces/ns/jobs"
