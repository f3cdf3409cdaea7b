"""The record of a governed run: signed and chained before its adapter is published, once, whatever happens in between."""

import base64
import json
from dataclasses import replace
from typing import Any

import pytest

from finetune_operator.cluster.errors import Forbidden, NotFound, Unavailable
from finetune_record import bundle, chain, envelope, keys
from finetune_record.statement import Statement
from finetune_trainer.contract import JudgeSummary, NameModel, ScanSummary, Verdict
from finetune_trainer.contract.governance.vocabulary import LABEL_ZONE
from tests.unit.domain.governed import DIGEST, LABELS, SUBMITTED, approval, dataset, policy, told, view
from tests.unit.domain.registry import CHECKPOINTS, RECORDS, Registry
from tests.unit.domain.samples import ADAPTER, DOCUMENTS, FILES, NOON, probed, words
from tests.unit.domain.test_crashes import survive
from tests.unit.domain.world import Crash, World, spec
from tests.unit.record.examples import KEY, OTHER_KEY

TRUSTED = {keys.key_id(KEY.public_key()): KEY.public_key()}
DEMAND = {"approvals": [{"stage": "Train", "count": 1}], "licences": {"conditional": ["Apache-2.0"]}}


def governed(registry: Registry | None, seen: Any = None, **changes: Any) -> World:
    made = World(spec=spec(**changes), governance=seen or view(policy()), registry=registry)
    made.labels, made.annotations = dict(LABELS), dict(SUBMITTED)
    made.settle()
    return made


def statement(manifest: dict[str, Any]) -> Statement:
    return Statement.from_json(envelope.opened(envelope.Envelope.read(manifest["data"]["record.dsse.json"].encode()), TRUSTED))


def publish_pod(world: World) -> dict[str, Any]:
    template: dict[str, Any] = world.jobs[world.active]["spec"]["template"]
    return template


def trained(world: World) -> World:
    """Up to the Job that publishes."""
    for _ in range(2):
        world.step_through()
    return world


def test_a_governed_run_ends_signed_with_one_write_more() -> None:
    plain, registry = governed(None), Registry()
    signed = governed(registry)
    for each in (plain, signed):
        each.finish()
    assert signed.writes == plain.writes + 1
    assert plain.status is not None
    assert signed.status is not None
    assert plain.status["artifact"]["signed"] is False
    assert "is not signed" in told(plain, "Ready")[2]
    (stored,) = registry.records
    assert stored["metadata"]["name"] == "support-00000001"
    record = statement(stored)
    assert signed.status["artifact"]["signed"] is True
    place = signed.status["history"][0]["record"]
    assert signed.status["artifact"]["recordDigest"] == place["digest"]
    assert place["sequence"] == 1
    assert record.artifact == ADAPTER
    assert record.files == FILES
    assert {"files", "documents", "agreements"}.isdisjoint(signed.run)
    assert "not signed" not in told(signed, "Ready")[2]


def test_the_pod_that_publishes_reads_the_very_texts_that_are_kept() -> None:
    registry = Registry()
    pod = publish_pod(trained(governed(registry)))
    (stored,) = registry.records
    texts = pod["metadata"]["annotations"]
    signed = {"finetune.dev/record": stored["data"]["record.dsse.json"], "finetune.dev/model-signature": stored["data"]["model.sig"]}
    assert signed.items() <= texts.items()
    assert texts.keys() - signed.keys() == {"finetune.dev/order"}
    assert sum(map(len, texts.values())) < 64 * 1024
    (volume,) = [each for each in pod["spec"]["volumes"] if each["name"] == "record"]
    paths = {item["path"]: item["fieldRef"]["fieldPath"] for item in volume["downwardAPI"]["items"]}
    assert paths == {
        "record.dsse.json": "metadata.annotations['finetune.dev/record']",
        "model.sig": "metadata.annotations['finetune.dev/model-signature']",
    }
    files = bundle.signed_files(bundle.Bundle.read(stored["data"]["model.sig"].encode()), TRUSTED)
    assert files == FILES


JUDGE = {"endpoint": "http://judge.models:8000/v1", "model": "critic"}
DOUBTED = JudgeSummary(
    usable=False,
    message="of 32 pairs 3 were judged right",
    model="critic-2026",
    prompt_digest=DIGEST,
    calibration_pairs=32,
    calibration_right=3,
)


def test_who_judged_is_in_status_and_record_and_a_judge_that_is_not_believed_is_told() -> None:
    registry = Registry()
    world = governed(registry, evaluation__judge=JUDGE)
    world.verdict = Verdict.NOT_GATED
    world.step_through()
    world.end_pod(judge=DOUBTED)
    world.settle()
    assert world.status is not None
    assert world.status["evaluation"]["judge"]["calibrationRight"] == 3
    assert "without Judge, which is not usable: of 32 pairs 3 were judged right" in told(world, "Evaluated")[2]
    evaluation = statement(registry.records[0]).predicate.evaluation
    assert evaluation is not None
    assert evaluation.judge is not None
    assert (evaluation.judge.endpoint, evaluation.judge.model, evaluation.judge.prompt_digest) == (JUDGE["endpoint"], "critic-2026", DIGEST)
    assert not evaluation.judge.usable


def test_every_section_says_what_is_known() -> None:
    registry, data = Registry(), dataset(digest=DIGEST, purposes=["triage"], owner="dora@example.org")
    seen = view(policy(**DEMAND), datasets=(data,))
    document = spec(baseModel__licence="what the job says", justification="tickets of the pilot", purpose="triage")
    document["dataset"] = {"ref": {"name": "tickets"}, "validation": {"percent": 10}}
    world = World(spec=document, governance=seen, registry=registry)
    world.labels, world.annotations = dict(LABELS), dict(SUBMITTED)
    world.settle()
    world.step_through()
    digest = (world.status or {})["governance"]["digest"]
    agreed = (approval("bob", digest), approval("eve", digest, stage="Waive"), approval("zoe", digest, stage="Waive"))
    world.governance = view(policy(**DEMAND), datasets=(data,), approvals=agreed)
    world.settle()
    assert [each["approver"] for each in world.run["agreements"]] == ["bob", "eve", "zoe"]
    world.governance = view(policy(**DEMAND), datasets=(data,), approvals=agreed[1:])
    world.step_through()
    record = statement(registry.records[0]).predicate
    identity = record.identity
    assert (identity.namespace, identity.job, identity.submitter, identity.cluster) == ("support", "ticket-router", "ann", "cluster-uid")
    assert (identity.justification, identity.authors) == ("tickets of the pilot", [])
    assert identity.run_key == world.run["key"]
    assert record.policy is not None
    assert (record.policy.decision, record.policy.decision_digest) == ("Allow", digest)
    (applied,) = record.policy.policies
    assert (applied.name, applied.generation, applied.digest) == ("house", 1, policy(**DEMAND).content)
    assert [(found.rule, found.waived, found.blocks) for found in record.policy.findings] == [("LicenceConditional", True, False)]
    (source,) = record.data.sources
    assert (source.dataset, source.digest) == ("tickets", DIGEST)
    assert (source.owner, source.purpose) == ("dora@example.org", "triage")
    assert source.classification is not None
    assert source.classification.level.value == "internal"
    assert (record.data.examples, record.data.tokens) == (240, 20_000)
    assert record.base.digest == "sha256:" + "ba" * 32
    assert record.base.licences is not None
    assert [(licence.key, licence.category) for licence in record.base.licences] == [("Apache-2.0", "Permissive")]
    assert record.code.trainer_image == "registry.example/trainer@sha256:1"
    assert record.data.duplicates == 12
    assert record.environment is not None
    assert (record.environment.node, record.environment.node_labels) == ("node-1", {LABEL_ZONE: "onprem"})
    assert (record.run.steps, record.run.loss) == (300, "0.2")
    assert record.evaluation is not None
    assert (record.evaluation.verdict, record.evaluation.gates[0].low) == ("Pass", "0.9")
    assert [(each.approver, each.stage, each.reason) for each in record.approvals] == [("bob", "Train", "seen")], "taken away, not unsaid"
    assert [each.approver for each in record.waivers] == ["eve", "zoe"]
    assert {each.name: each.digest for each in record.outputs.documents} == DOCUMENTS
    assert (record.evaluation.items_digest, record.code.settings_digest) == tuple(DOCUMENTS.values())
    assert record.outputs.uri == f"pvc://adapters/support/{ADAPTER[7:]}"
    assert record.outputs.classification is not None
    assert (record.chain.namespace, record.chain.seq, record.chain.prev) == ("support", 1, None)


def test_nothing_that_is_written_holds_a_part_of_the_key() -> None:
    registry = Registry()
    world = governed(registry)
    world.finish()
    scalar = KEY.private_numbers().private_value
    written = json.dumps([*registry.records, world.status, world.events])
    assert all(text not in written for text in (str(scalar), f"{scalar:x}", "PRIVATE"))


def test_the_second_record_names_the_first_and_another_namespace_has_its_own_chain() -> None:
    registry = Registry()
    world = governed(registry)
    world.finish()
    world.change(rerun="2")
    world.settle()
    world.finish()
    first, second = map(statement, registry.records)
    assert second.predicate.chain.seq == 2
    assert second.predicate.chain.prev == f"{(world.status or {})['history'][1]['record']['digest']}"
    assert registry.chains.flaws("support") == []
    request_of_another(registry)
    assert [manifest["metadata"]["name"] for manifest in registry.records] == ["elsewhere-00000001", "support-00000001", "support-00000002"]
    assert first.predicate.chain.prev is None


def request_of_another(registry: Registry, namespace: str = "elsewhere") -> None:
    """A record that another replica, or another namespace, writes."""
    other = Registry()
    world = governed(other)
    for _ in range(2):
        world.step_through()
    plan = _asked(world)
    sections = plan.sections.model_copy(update={"identity": plan.sections.identity.model_copy(update={"uid": "other"})})
    registry.record(_changed(plan, namespace, sections), lambda: None, NOON)


def _asked(world: World) -> Any:
    """The request of a world that has just been answered."""
    for job in [name for name in world.jobs if "publish" in name]:
        world.lose(job)
    assert world.status is not None
    world.status["currentRun"]["attempt"] = 0
    world.registry = Registry()
    request = world.decide().record
    assert request is not None
    return request


def _changed(request: Any, namespace: str, sections: Any) -> Any:
    return replace(request, namespace=namespace, uid="other", sections=sections)


def test_a_name_that_another_replica_has_taken_is_the_new_head() -> None:
    mine, theirs = Registry(), Registry()
    theirs.objects = mine.objects
    world = governed(mine)
    world.step_through()
    request_of_another(theirs, "support")
    world.step_through()
    assert [statement(each).predicate.chain.seq for each in mine.records] == [1, 2]
    assert world.run["record"]["sequence"] == 2
    assert mine.chains.flaws("support") == []


def test_a_record_that_a_crash_left_unused_is_the_runs_own() -> None:
    """Killed after the record and before the Job: the one that lies there is used, to the letter."""
    registry = Registry()
    world = governed(registry)
    world.step_through()
    world.run_pod()
    world.settle()
    world.tick()
    world.end_pod()
    world.crash_after = 1
    with pytest.raises(Crash):
        world.reconcile()
    assert len(registry.records) == 1
    world.tick(3600)
    world.forget()
    world.settle()
    assert len(registry.records) == 1
    assert publish_pod(world)["metadata"]["annotations"]["finetune.dev/record"] == registry.records[0]["data"]["record.dsse.json"]


@pytest.mark.parametrize("write", range(11))
def test_killed_before_any_write_there_is_one_record_of_the_run(write: int) -> None:
    registry = Registry()
    world, crashes = World(governance=view(policy()), registry=registry, labels=dict(LABELS), annotations=dict(SUBMITTED)), [write]
    survive(world, crashes)
    for _ in range(3):
        world.run_pod()
        survive(world, crashes)
        world.end_pod()
        survive(world, crashes)
    assert crashes == []
    assert world.run["outcome"] == "Succeeded"
    assert (world.status or {})["artifact"]["signed"] is True
    assert len(registry.records) == 1


def test_another_attempt_to_publish_brings_the_same_record() -> None:
    registry = Registry()
    world = trained(governed(registry))
    world.run_pod()
    world.settle()
    world.end_pod(74)
    world.settle()
    world.tick(60)
    world.clear()
    assert world.active.endswith("publish-2")
    assert len(registry.records) == 1
    assert publish_pod(world)["metadata"]["annotations"]["finetune.dev/record"] == registry.records[0]["data"]["record.dsse.json"]


@pytest.mark.parametrize("verdict", [Verdict.FAIL, Verdict.INCONCLUSIVE])
def test_a_result_that_is_not_to_be_used_is_put_away_unsigned(verdict: Verdict) -> None:
    registry = Registry()
    world = governed(registry)
    world.verdict = verdict
    world.finish()
    assert registry.records == []
    assert world.run["outcome"] in ("GateRejected", "GateHeld")


def test_a_run_without_governance_is_not_recorded() -> None:
    registry = Registry()
    world = World(governance=view(labels={}), registry=registry)
    world.settle()
    world.finish()
    assert registry.records == []
    assert "signed" not in (world.status or {})["artifact"]


def test_what_squats_in_the_place_of_a_record_holds_the_run_until_it_is_gone() -> None:
    registry = Registry()
    world = governed(registry)
    squatter = {"metadata": {"namespace": RECORDS, "name": "support-00000001"}, "data": {"record.dsse.json": "{}"}}
    registry.objects[RECORDS, "support-00000001"] = squatter
    trained(world)
    status, reason, message = told(world, "Ready")
    assert (status, reason) == ("False", "RecordRefused")
    assert f"{RECORDS}/support-00000001" in message
    assert world.active_jobs() == []
    del registry.objects[RECORDS, "support-00000001"]
    world.settle()
    assert told(world, "Ready")[1] == "RecordRefused", "not asked again at once, as nobody has told of it"
    world.tick(31)
    world.settle()
    world.finish()
    assert (world.status or {})["artifact"]["signed"] is True


@pytest.mark.parametrize(
    ("error", "told_so"),
    [(NotFound("no such namespace", status=404), "there is no namespace"), (Forbidden("not allowed", status=403), "may not create")],
)
def test_what_a_person_can_mend_is_told_and_tried_again(error: Any, told_so: str) -> None:
    registry = Registry()
    world = governed(registry)
    registry.refusal = error
    trained(world)
    assert told_so in told(world, "Ready")[2]
    registry.refusal = None
    world.tick(31)
    world.settle()
    world.finish()
    assert len(registry.records) == 1


def test_an_api_server_that_does_not_answer_is_for_the_queue() -> None:
    registry = Registry()
    world = governed(registry)
    world.step_through()
    registry.refusal = Unavailable("no answer")
    with pytest.raises(Unavailable):
        trained(world)


def test_a_record_of_an_unknown_key_holds_the_chain_and_its_public_key_frees_it() -> None:
    old = Registry(OTHER_KEY)
    governed(old).finish()
    fresh = Registry()
    fresh.objects = old.objects
    fresh.forget()
    world = trained(governed(fresh, rerun="other"))
    assert "--verification-key" in told(world, "Ready")[2]
    both = Registry(trusted={keys.key_id(OTHER_KEY.public_key()): OTHER_KEY.public_key()})
    both.objects = old.objects
    both.forget()
    world = governed(both, rerun="third")
    world.finish()
    assert [manifest["metadata"]["name"] for manifest in both.records] == ["support-00000001", "support-00000002"]
    assert both.chains.flaws("support") == []


def test_a_record_that_is_taken_away_leaves_a_gap_that_the_next_one_names() -> None:
    registry = Registry()
    world = governed(registry)
    world.finish()
    registry.take_away("support-00000001")
    assert "was removed" in registry.chains.flaws("support")[0].message
    world.change(rerun="2")
    world.settle()
    world.finish()
    assert [each["metadata"]["name"] for each in registry.records] == ["support-00000002"]
    assert "record 1 is missing" in registry.chains.flaws("support")[0].message


def test_a_removed_end_is_seen_after_a_restart_by_its_checkpoint_and_not_written_over() -> None:
    registry = Registry(every=2)
    world = governed(registry)
    world.finish()
    for rerun in ("2", "3"):
        world.change(rerun=rerun)
        world.settle()
        world.finish()
    assert [name for namespace, name in registry.objects if namespace == CHECKPOINTS] == ["support-00000002"]
    assert registry.measures.counts["anchored configmap kept"] == 1
    for name in ("support-00000002", "support-00000003"):
        registry.take_away(name)
    registry.forget()
    assert any("its end was removed" in flaw.message for flaw in registry.chains.flaws("support"))
    world.change(rerun="4")
    world.settle()
    world.finish()
    assert world.run["record"]["sequence"] == 3


def test_records_that_were_changed_or_put_in_another_place_are_told() -> None:
    registry = Registry()
    world = governed(registry)
    world.finish()
    (stored,) = registry.records
    registry.objects[RECORDS, "support-00000002"] = {**stored, "metadata": {**stored["metadata"], "name": "support-00000002", "uid": "x"}}
    registry.read()
    assert [flaw.where for flaw in registry.chains.flaws("support")] == ["support-00000002"]
    changed = stored["data"]["record.dsse.json"].replace("A", "B", 1)
    registry.objects[RECORDS, "support-00000001"] = {**stored, "data": {"record.dsse.json": changed}}
    registry.forget()
    assert {flaw.where for flaw in registry.chains.flaws("support")} == {"support-00000001", "support-00000002"}


def test_more_files_than_a_pod_can_tell_leave_the_content_digest() -> None:
    registry = Registry()
    world = governed(registry)
    world.step_through()
    world.run_pod()
    world.settle()
    assert world.status is not None
    said = json.loads(words("train", world.run["key"]))
    said["summary"]["train"]["files"] = []
    world.tick()
    world.end_pod(message=json.dumps(said))
    world.settle()
    (stored,) = registry.records
    assert statement(stored).files == {}
    assert statement(stored).artifact == ADAPTER
    assert "model.sig" not in stored["data"]
    assert chain.entry_name("support", 1) == stored["metadata"]["name"]


def test_the_probe_of_egress_is_in_the_record_by_the_digest_of_its_report() -> None:
    registry = Registry()
    governed(registry, view(policy(egress="Closed"))).finish()
    environment = statement(registry.records[0]).predicate.environment
    assert environment is not None
    assert environment.egress is not None
    assert (environment.egress.result, environment.egress.log_digest) == ("Closed", probed().content_digest())
    assert (environment.egress.watch_digest, environment.egress.watch_rounds) == (None, 0)


def test_the_tries_while_it_trained_are_in_the_record_by_the_digest_of_their_last_report() -> None:
    registry = Registry()
    world = governed(registry, view(policy(egress="Closed")))
    world.step_through()
    world.end_pod(egress=probed(rounds=7))
    world.settle()
    world.finish()
    environment = statement(registry.records[0]).predicate.environment
    assert environment is not None
    assert environment.egress is not None
    assert (environment.egress.watch_digest, environment.egress.watch_rounds) == (probed(rounds=7).content_digest(), 7)


def test_the_scan_is_in_the_record_by_its_counts_and_the_digest_of_its_report() -> None:
    registry = Registry()
    world = governed(registry)
    found, looked = {"email": (40, 0), "date": (9, 0)}, NameModel(name="en_site_names", version="1.2.3", digest="sha256:" + "7e" * 32)
    scan = ScanSummary(profile="Identifiers", entire=True, rows=264, report_digest=DIGEST, found=found, name_model=looked)
    world.end_pod(message=words("prepare", world.run["key"], scan=scan))
    world.settle()
    world.finish()
    report, model, review = statement(registry.records[0]).predicate.data.reports
    assert (model.kind, model.digest, model.file) == ("name-model", looked.digest, None)
    assert (review.kind, review.file) == ("review", "review-report.json")
    assert (report.kind, report.digest, report.file) == ("scan", DIGEST, "scan-report.json")
    assert {each.name: each.value for each in report.headlines} == {"rows": "264", "date rows": "9", "email rows": "40"}


def chain_of_three() -> Registry:
    registry = Registry()
    world = governed(registry)
    world.finish()
    for rerun in ("2", "3"):
        world.change(rerun=rerun)
        world.settle()
        world.finish()
    return registry


def rewritten(registry: Registry, number: int, change: Any) -> None:
    """One ConfigMap with another text."""
    place = RECORDS, chain.entry_name("support", number)
    text = change(json.loads(registry.objects[place]["data"]["record.dsse.json"]))
    registry.objects[place] = {
        **registry.objects[place],
        "data": {"record.dsse.json": json.dumps(text, separators=(",", ":"), sort_keys=True)},
    }


def edited(envelope_: dict[str, Any]) -> dict[str, Any]:
    payload = base64.b64decode(envelope_["payload"]).replace(b'"verdict":"Pass"', b'"verdict":"Fail"', 1)
    return {**envelope_, "payload": base64.b64encode(payload).decode()}


def swapped(registry: Registry) -> None:
    first, second = ((RECORDS, chain.entry_name("support", number)) for number in (1, 2))
    one, two = registry.objects[first], registry.objects[second]
    registry.objects[first], registry.objects[second] = {**one, "data": two["data"]}, {**two, "data": one["data"]}


TAMPERINGS: dict[str, tuple[Any, set[str]]] = {
    "a verdict edited": (lambda r: rewritten(r, 2, edited), {"support-00000002", "support-00000003"}),
    "its signature stripped": (
        lambda r: rewritten(r, 2, lambda text: {**text, "signatures": []}),
        {"support-00000002", "support-00000003"},
    ),
    "one removed": (lambda r: r.objects.pop((RECORDS, "support-00000002")), {"support-00000003"}),
    "two in each other's place": (swapped, {"support-00000001", "support-00000002", "support-00000003"}),
    "signed by somebody else": (
        lambda r: rewritten(r, 3, lambda text: json.loads(envelope.seal(base64.b64decode(text["payload"]), OTHER_KEY).to_bytes())),
        {"support-00000003"},
    ),
}


@pytest.mark.parametrize(("tamper", "named"), TAMPERINGS.values(), ids=TAMPERINGS)
def test_whatever_is_done_to_a_chain_is_seen_at_the_next_start_and_no_number_is_given_twice(tamper: Any, named: set[str]) -> None:
    registry = chain_of_three()
    assert registry.chains.flaws("support") == []
    tamper(registry)
    registry.forget()
    assert {flaw.where for flaw in registry.chains.flaws("support")} == named
    there = dict(registry.objects)
    world = trained(governed(registry, rerun="4"))
    went_on = bool(world.active_jobs())
    assert {name for _, name in registry.objects.keys() - there.keys()} == ({"support-00000004"} if went_on else set())
    assert {place: registry.objects[place] for place in there} == there
    assert went_on or told(world, "Ready")[1] == "RecordRefused"


def test_the_record_has_the_host_of_the_tracker_and_no_more_of_it() -> None:
    registry = Registry()
    tracked = {"tracking__mlflow": {"uri": "http://MLflow.mlops.svc:5000/team", "experiment": "support"}}
    governed(registry, view(policy(trackerHosts=["mlflow.mlops.svc"])), **tracked).finish()
    found = statement(registry.records[0])
    assert found.predicate.environment is not None
    assert found.predicate.environment.tracker == "mlflow.mlops.svc"
    assert "/team" not in found.to_json()
