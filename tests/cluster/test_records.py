"""Records with a real operator on a real API server: signed, chained, kept where nobody changes them, and told to whoever looks."""

import asyncio
import json
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from finetune_operator.control import chains
from finetune_record import chain, envelope
from finetune_testbed.audit import AuditLog, tally
from finetune_testbed.bed import Testbed
from finetune_testbed.proxy import Moment, Proxy, Strike, kill
from tests.cluster import governed_site, operator_process, signed_site
from tests.cluster.governed_site import Site
from tests.cluster.operator_process import until
from tests.cluster.signed_site import Registry
from tests.cluster.test_operator_budget import BUDGET, WRITER
from tests.engines import objectstore
from tests.engines.objectstore import CREDENTIALS, ObjectStore

FACTS = "governancefacts"
"""Written when a policy or what is registered changes, whether anybody runs or not."""
ADDED = 3
"""Writes that governance may add to a run, the record and its anchor included."""


@pytest.fixture
def registry(site: Site, tmp_path: Path) -> Iterator[Registry]:
    with signed_site.registry(site.here.server, tmp_path) as made:
        yield made


def run(site: Site, name: str) -> None:
    site.submit(name)
    assert site.here.wait_ended(name) == "Succeeded"


def test_runs_of_two_namespaces_end_in_two_chains_across_a_restart_and_cost_one_write_more(
    site: Site, registry: Registry, t2: Testbed, tmp_path: Path
) -> None:
    here = site.here
    site.demand(approvals=[{"stage": "Train", "count": 1}])
    log = AuditLog(t2)
    start = log.mark()
    with (
        governed_site.site(t2) as other,
        governed_site.governing(here, tmp_path, "--namespace", other.here.namespace, *registry.flags) as first,
    ):
        site.submit("one")
        site.approve("one", "bob", site.digest("one"))
        assert here.wait_ended("one") == "Succeeded"
        here.wait_event("one", "RunSucceeded")
        cost = [
            call
            for call in log.writes(WRITER, since=start)
            if not call.is_lease and call.resource != FACTS and call.namespace in (here.namespace, registry.records, registry.checkpoints)
        ]
        assert len(cost) <= BUDGET + ADDED, tally(cost)
        kept = [call for call in cost if call.namespace in (registry.records, registry.checkpoints)]
        assert [(call.verb, call.namespace) for call in kept] == [("create", registry.records)]
        run(other, "apart")
        first.kill()
    with governed_site.governing(here, tmp_path, *registry.flags) as second:
        site.submit("two")
        site.approve("two", "bob", site.digest("two"))
        assert here.wait_ended("two") == "Succeeded"
        assert second.metric(f'finetune_record_chain_head{{namespace="{here.namespace}"}}') == 2
        assert second.metric(f'finetune_record_chain_flaws{{namespace="{here.namespace}"}}') == 0
    (one, first_entry), (two, entry) = registry.statements(here.namespace)
    assert chain.flaws([first_entry, entry]) == []
    assert (two.predicate.chain.seq, two.predicate.chain.prev) == (2, first_entry.digest)
    ((apart, _),) = registry.statements(other.here.namespace)
    assert (apart.predicate.chain.seq, apart.predicate.chain.prev) == (1, None)
    artifact = here.status("one")["artifact"]
    assert artifact["signed"] is True
    assert artifact["recordDigest"] == first_entry.digest
    assert one.artifact == artifact["digest"]
    assert [(each.approver, each.stage) for each in one.predicate.approvals] == [("bob", "Train")]
    assert one.predicate.identity.submitter == "ann"
    assert one.predicate.identity.cluster
    (checkpoint,) = registry.objects(registry.checkpoints, here.namespace)
    text = checkpoint["data"]["checkpoint.dsse.json"].encode()
    point = chain.Checkpoint.from_json(
        envelope.opened(envelope.Envelope.read(text), signed_site.public_keys(registry.key), envelope.CHECKPOINT)
    )
    assert (point.seq, point.head) == (2, entry.digest)


def test_killed_once_its_record_is_written_the_next_operator_publishes_with_that_very_text(
    site: Site, registry: Registry, t2: Testbed, tmp_path: Path
) -> None:
    here = site.here
    with Proxy(t2) as proxy:
        flags = ("--namespace", here.namespace, "--governance", *registry.flags)
        operator = operator_process.start(proxy.write_kubeconfig(tmp_path / "struck.kubeconfig"), tmp_path, flags)
        proxy.set_strike(Strike(1, kill(operator.pid), Moment.COMMITTED, lambda call: call.namespace == registry.records))
        site.submit("struck")
        until(lambda: proxy.has_struck)
        operator.process.wait()
    (kept,) = registry.objects(registry.records)
    assert {job["metadata"]["labels"]["finetune.dev/step"] for job in here.jobs("struck")} == {"prepare", "train"}
    with governed_site.governing(here, tmp_path, *registry.flags) as successor:
        assert here.wait_ended("struck") == "Succeeded"
        assert successor.metric(f'finetune_records_total{{namespace="{here.namespace}",result="found"}}') == 1
    (publish,) = [job for job in here.jobs("struck") if job["metadata"]["labels"]["finetune.dev/step"] == "publish"]
    assert publish["spec"]["template"]["metadata"]["annotations"]["finetune.dev/record"] == kept["data"]["record.dsse.json"]
    assert len(registry.objects(registry.records)) == 1
    assert here.status("struck")["artifact"]["signed"] is True


def test_what_squats_in_the_place_of_a_record_is_named_and_the_run_goes_on_when_it_is_gone(
    site: Site, registry: Registry, tmp_path: Path
) -> None:
    here, path = site.here, f"/api/v1/namespaces/{registry.records}/configmaps"
    name = chain.entry_name(here.namespace, 1)
    labels = {chain.NAMESPACE_LABEL: here.namespace}
    here.server.request("POST", path, chains.config_map(registry.records, name, labels, {"record.dsse.json": "{}"}))
    with governed_site.governing(here, tmp_path, *registry.flags) as operator:
        site.submit("held")
        said = here.wait_reason("held", "RecordRefused")
        assert f"{registry.records}/{name}" in said["message"]
        assert [job["metadata"]["labels"]["finetune.dev/step"] for job in here.jobs("held")] == ["prepare", "train"]
        assert operator.metric(f'finetune_records_total{{namespace="{here.namespace}",result="refused"}}') == 1
        here.server.request("DELETE", f"{path}/{name}")
        assert here.wait_ended("held") == "Succeeded"
    assert [entry.where for _, entry in registry.statements(here.namespace)] == [name]


def test_a_record_that_was_removed_is_told_at_the_next_start_and_a_rotated_key_goes_on(
    site: Site, registry: Registry, tmp_path: Path
) -> None:
    here = site.here
    with governed_site.governing(here, tmp_path, *registry.flags):
        for name in ("one", "two"):
            run(site, name)
    here.server.request("DELETE", f"/api/v1/namespaces/{registry.records}/configmaps/{chain.entry_name(here.namespace, 1)}")
    fresh = signed_site.write_key(tmp_path, "fresh.pem")
    old = ("--verification-key", str(signed_site.write_public_key(registry.key)))
    flags = [str(fresh) if flag == str(registry.key) else flag for flag in registry.flags]
    with governed_site.governing(here, tmp_path, *flags, *old) as operator:
        run(site, "three")
        assert any("record 1 is missing" in message for message in operator.messages("error"))
        assert operator.metric(f'finetune_record_chain_flaws{{namespace="{here.namespace}"}}') == 1
    found = registry.statements(here.namespace, signed_site.public_keys(registry.key, fresh))
    assert [entry.link.seq for _, entry in found] == [2, 3]
    assert found[1][1].link.prev == found[0][1].digest


def test_without_a_key_a_governed_run_says_that_it_is_unsigned(site: Site, tmp_path: Path) -> None:
    here = site.here
    with governed_site.governing(here, tmp_path) as operator:
        run(site, "plain")
        assert "is not signed" in here.condition("plain")["message"]
        assert here.status("plain")["artifact"]["signed"] is False
        assert any("no --signing-key" in message for message in operator.messages("warning"))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectStore]:
    if objectstore.PROGRAM is None:
        pytest.skip(objectstore.MISSING)
    with objectstore.object_store(tmp_path_factory.mktemp("bucket") / "store") as made:
        yield made


def bucket_flags(store: ObjectStore, folder: Path, bucket: str) -> tuple[str, ...]:
    secret = folder / "credentials"
    return (
        *("--anchor-bucket", bucket, "--anchor-bucket-endpoint", store.endpoint, "--anchor-bucket-prefix", "lab/"),
        *("--anchor-bucket-ca", str(store.ca), "--anchor-bucket-days", "1"),
        *("--anchor-bucket-credentials", str(secret if secret.exists() else store.secret(secret))),
    )


def test_a_bucket_that_is_away_holds_no_run_up_and_gets_its_checkpoint_later(
    site: Site, registry: Registry, store: ObjectStore, tmp_path: Path
) -> None:
    here = site.here
    asyncio.run(store.make("records-of-lab"))
    every_one = [("1" if before == "--checkpoint-every" else flag) for before, flag in pairwise(("", *registry.flags))]
    flags = (*every_one, *bucket_flags(store, tmp_path, "records-of-lab"))
    counted, gap = (
        'finetune_record_anchors_total{anchor="bucket",result="%s"}',
        f'finetune_record_anchor_gap{{namespace="{here.namespace}"}}',
    )
    entry = chain.entry_name(here.namespace, 1)
    with ExitStack() as stack:
        with store.away():
            operator = stack.enter_context(governed_site.governing(here, tmp_path, *flags))
            assert any("the bucket of checkpoints cannot be used now" in message for message in operator.messages("warning"))
            run(site, "one")
            until(lambda: operator.metric(counted % "failed") >= 1)
            operator.wait_metric(gap, 1)
        operator.wait_metric(counted % "kept", 1)
        operator.wait_metric(gap, 0)
        events = f"/apis/events.k8s.io/v1/namespaces/{registry.records}/events"
        found = until(lambda: len(items := here.server.request("GET", events)["items"]) == 2 and items)
    assert found
    assert {(one["type"], one["reason"], one["regarding"]["kind"], one["regarding"]["name"]) for one in found} == {
        ("Warning", "RecordsNotAnchored", "ConfigMap", entry),
        ("Normal", "RecordsAnchored", "ConfigMap", entry),
    }
    (said,) = [line for line in operator.logs if line["message"].startswith("a checkpoint of record 1 of namespace")]
    assert (said["key"], bool(said["version"])) == (f"lab/{here.namespace}/{entry}.json", True)
    everything = operator.log_file.read_text() + json.dumps(found)
    assert CREDENTIALS.secret_access_key not in everything
    assert CREDENTIALS.access_key_id not in everything


def test_an_operator_does_not_start_with_a_bucket_that_can_be_rewritten(
    site: Site, registry: Registry, store: ObjectStore, tmp_path: Path
) -> None:
    asyncio.run(store.make("rewritable", locked=False))
    said = refused(site, tmp_path, *registry.flags, *bucket_flags(store, tmp_path, "rewritable"))
    assert "bucket rewritable has no object lock" in said
    assert CREDENTIALS.secret_access_key not in said


def refused(site: Site, folder: Path, *flags: str) -> str:
    """What an operator says that cannot start."""
    arguments = ("--governance", "--namespace", site.here.namespace, *flags)
    ended = operator_process.start(site.here.bed.kubeconfig, folder, arguments, wait=False)
    assert ended.process.wait(operator_process.PATIENCE) == 2
    return ended.log_file.read_text()


def test_a_start_that_cannot_sign_says_why(site: Site, registry: Registry, tmp_path: Path) -> None:
    file = tmp_path / "rsa.pem"
    file.write_bytes(rsa.generate_private_key(65537, 2048).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    assert "not an ECDSA key on P-256" in refused(site, tmp_path, "--signing-key", str(file))
    flags = ("--signing-key", str(registry.key), "--records-namespace", "nowhere")
    assert "there is no namespace nowhere for records" in refused(site, tmp_path, *flags)
