"""A tour of the decision table in pods of a real node: each row refuses one job, and lets its nearest neighbour pass.

All jobs are submitted at once and one of them is trained: signed, published, verified without its cluster, and served where it is cleared.
The others end in prepare, wait for somebody, or find other bytes than were sealed.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from demo import claims
from demo.environment import Environment
from demo.kubectl import Kubectl, KubectlError, conditions
from finetune_cli.main import main as finetune
from finetune_testbed.bed import Testbed
from finetune_testbed.node import outside
from finetune_trainer.contract import digest_of
from tests.cluster import signed_site
from tests.e2e.adapterdeployment.served import QUESTIONS, Served
from tests.e2e.beside import Judge, Tracker, judging
from tests.e2e.governance import rows
from tests.e2e.governance.governed import (
    CLEARANCE,
    DECLARED,
    Governed,
    addresses,
    begin_namespace,
    operators,
    reason,
    rules,
    told,
)
from tests.e2e.governance.tour import (
    BINDING,
    DATA,
    DEPLOYED,
    EDITED,
    ELSEWHERE,
    JOBS,
    NAMESPACE,
    PICKLED,
    PII,
    POLICIES,
    RESTORED,
    ROLE,
    heard,
    policies,
    spec_of,
)
from tests.e2e.planted import found_below
from tests.e2e.tenant import Job, artifact_folder, merged


@pytest.fixture(scope="module")
def judge(t3: Testbed, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Judge]:
    with judging(t3, tmp_path_factory.mktemp("judged"), rows.people()) as made:
        yield made


@pytest.fixture(scope="module")
def here(
    governing_release: Environment,
    kubectl: Kubectl,
    t3: Testbed,
    base_model: Path,
    tracker: Tracker,
    judge: Judge,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Governed]:
    """A governed namespace with its data, policies and jobs, whose pods reach nothing outside; ``good`` has a tracker and a judge."""
    folder = tmp_path_factory.mktemp("tour")
    made = Governed(kubectl, NAMESPACE, kubectl.run("auth", "whoami", "-o", "jsonpath={.status.userInfo.username}"))
    with outside.listening(t3), outside.closed(t3, addresses(operators(kubectl))):
        begin_namespace(kubectl, NAMESPACE, governing_release.trainer_image, folder)
        (folder / "data").mkdir()
        rows.write(folder / "data")
        claims.put(kubectl, NAMESPACE, folder / "data", "/claims/datasets")
        claims.put(kubectl, NAMESPACE, base_model, "/claims/models/tiny-chat")
        made.on_claims(PICKLED)
        kubectl.run("label", "namespace", NAMESPACE, "finetune.dev/governed=true", f"{CLEARANCE}=internal", *cleared("pii", "phi"))
        for document in (*policies(tracker.host), ROLE, BINDING):
            apply(kubectl, document)
        for name, file in DATA.items():
            registered = {"uri": f"pvc://datasets/{file}", "level": "internal", "regimes": ["phi"], "claimsSafeHarbor": True}
            made.create("TrainingDataset", name, registered)
        for name, (labels, changes) in JOBS.items():
            more = heard(tracker.tracking, judge.evaluation) if name == "good" else {}
            made.create("FineTuneJob", name, spec_of(name, merged(changes, more)), {**DECLARED, **labels})
        yield made
        kubectl.run("delete", "namespace", NAMESPACE, "--wait=true")
        kubectl.run("delete", "governancepolicy", *POLICIES)


def cleared(*regimes: str) -> list[str]:
    return [f"finetune.dev/clearance.{regime}=true" for regime in regimes]


def apply(kubectl: Kubectl, document: Job) -> None:
    kubectl.run("apply", "-f", "-", stdin=json.dumps(document).encode())


@pytest.fixture(scope="module")
def good(here: Governed) -> Job:
    """The job that is let pass by every row, once its adapter is published."""
    done = here.tenant.wait_decided("good", seconds=600)
    assert reason(done) == "RunSucceeded", conditions(done)
    return done


def test_rows_7_and_9_a_model_that_would_run_code_and_whose_licence_is_denied(here: Governed) -> None:
    refused = here.wait_reason("unsafe", "ModelRejected")
    assert "weights as Pickle" in conditions(refused)["Governed"]["message"]
    assert rules(refused) >= {"UnsafeModelFormat", "LicenceDenied"}
    assert here.steps("unsafe") == {"prepare"}


def test_row_10_identifiers_in_rows_that_are_not_declared(here: Governed) -> None:
    """``good`` has the same rows, and the label."""
    refused = here.wait_reason("undeclared", "UndeclaredRegime")
    assert "scan.ssn" in conditions(refused)["Ready"]["message"]
    assert here.steps("undeclared") == {"prepare"}


def test_rows_11_and_13_safe_harbor_refuted_and_too_few_repeated_and_seen(here: Governed) -> None:
    refused = here.wait_reason("refuted", "DeidentificationRefuted")
    wanted = {"DeidentificationRefuted", "TooFewExamples", "TooManyDuplicates", "EvaluationOverlap"}
    assert rules(refused) >= wanted, "all at once"
    assert all(rule in conditions(refused)["Governed"]["message"] for rule in wanted)
    assert here.steps("refuted") == {"prepare"}


def test_row_12_a_scan_that_did_not_see_every_row_to_its_end(here: Governed) -> None:
    """No finding in what was not read clears nobody."""
    waiting = here.wait_reason("cut", "AwaitingApproval")
    assert "not every row was scanned" in conditions(waiting)["Ready"]["message"]
    scan = waiting["status"]["dataset"]["scan"]
    assert (scan["entire"], scan.get("found", [])) == (False, [])
    assert here.steps("cut") == {"prepare"}


def test_row_17_what_was_agreed_to_is_exchanged_before_it_is_trained_on(here: Governed) -> None:
    """Until then it passes rows 10 to 13: its claim of Safe Harbor holds, and only somebody's word is missing."""
    waiting = here.wait_reason("agreed", "AwaitingApproval")
    assert rules(waiting) == {"ApprovalPending"}
    assert waiting["status"]["dataset"]["scan"]["entire"] is True
    uid = waiting["metadata"]["uid"]
    here.on_claims(f"cd $(find /claims/adapters -type d -path '*/{uid}/*' -name data); echo more >> train.parquet")
    here.approve("agreed", "bob")
    ended = here.wait_reason("agreed", "DigestMismatch")
    assert "train.parquet" in conditions(ended)["Ready"]["message"]
    assert here.steps("agreed") == {"prepare", "train"}
    assert "artifact" not in ended["status"]


def test_row_14_a_tracker_and_a_judge_elsewhere_are_refused_and_those_of_the_policy_are_reached_where_egress_is_closed(
    here: Governed, good: Job, tracker: Tracker, judge: Judge
) -> None:
    """What the tracker has stored and was sent holds no identifier; the judge was shown rows, which is what the policy allows it."""
    there = {"tracker": "http://192.0.2.9:5000", "judge": "http://192.0.2.9/v1"}
    elsewhere = heard({"mlflow": {"uri": there["tracker"]}}, {"judge": {"endpoint": there["judge"], "model": "critic"}})
    with pytest.raises(KubectlError, match="ExternalTracker") as refused:
        here.create("FineTuneJob", "elsewhere", spec_of("elsewhere", elsewhere), {**DECLARED, PII: "true"})
    assert "ExternalJudge" in str(refused.value)
    opened = [rule for policy in here.network_policies("good") for rule in policy["spec"]["egress"]]
    wanted = [only(address) for address in (tracker.address, judge.address)]
    assert sorted(opened, key=port_of) == sorted(wanted, key=port_of)
    (run,) = tracker.server.runs(f"{NAMESPACE}/good")
    assert (run["info"]["status"], reason(good, "Tracked")) == ("FINISHED", "Tracked")
    assert tracker.tags(run)["finetune.artifact_digest"] == good["status"]["artifact"]["digest"]
    words = {"a digest": "finetune.artifact_digest", "a person": rows.SSN.removesuffix("{:04d}")}
    assert found_below([tracker.heard, tracker.server.folder], words).keys() == {"a digest"}
    assert good["status"]["evaluation"]["judge"]["usable"] is True
    assert found_below([judge.heard], words).keys() == {"a person"}


def only(address: str) -> Job:
    """The rule of a network policy that opens this address and port."""
    host, _, port = address.partition(":")
    return {"to": [{"ipBlock": {"cidr": f"{host}/32"}}], "ports": [{"port": int(port), "protocol": "TCP"}]}


def port_of(rule: Job) -> int:
    """Of a network policy's rule for one port."""
    return int(rule["ports"][0]["port"])


def test_good_passes_them_all(here: Governed, good: Job) -> None:
    run = good["status"]["currentRun"]
    assert rules(good) == set()
    assert run["inputs"]["baseModel"]["formats"] == ["Safetensors"]
    assert run["inputs"]["baseModel"]["licences"] == [{"key": "Apache-2.0", "category": "Permissive"}]
    assert good["status"]["dataset"]["scan"]["found"] == [{"entity": "ssn", "rows": 240, "validatedRows": 240}]
    assert good["status"]["artifact"]["classification"]["regimes"] == ["pii"]
    assert here.steps("good") == {"prepare", "train", "publish"}


def test_its_record_verifies_without_its_cluster_has_the_probes_and_a_changed_byte_is_found(
    here: Governed, good: Job, tracker: Tracker, key: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    artifact = good["status"]["artifact"]
    assert artifact["signed"] is True
    folder = here.copy_out(artifact["uri"], tmp_path)
    chain = here.export_chain(tmp_path / "chain.json")
    command = ["verify", str(folder), "--key", str(signed_site.write_public_key(key)), "--chain", str(chain), "--output", "json"]
    assert finetune(command) == 0, capsys.readouterr().out
    said = json.loads(capsys.readouterr().out)
    assert said["recordDigest"] == artifact["recordDigest"]
    assert "model.sig" in said["checked"]
    record: dict[str, Any] = said["record"]["predicate"]
    assert (record["identity"]["namespace"], record["identity"]["submitter"]) == (NAMESPACE, here.submitter)
    assert [each["name"] for each in record["policy"]["policies"]] == ["tour", "tour-closed"]
    assert record["environment"]["node"]
    assert record["environment"]["tracker"] == tracker.host
    assert {each["name"] for each in record["outputs"]["documents"]} >= {"evaluation-items.jsonl", "record.json", "resolved.json"}
    assert digest_of((folder.with_name(f"{folder.name}.meta") / "scan-report.json").read_bytes()) == scanned(record)
    tried(here, record["environment"]["egress"])
    weights = folder / "adapter_model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    assert finetune(command) == 1
    assert any("adapter_model.safetensors" in problem["where"] for problem in json.loads(capsys.readouterr().out)["problems"])


def scanned(record: Job) -> str:
    """Digest of the report of the scan."""
    (report,) = [each for each in record["data"]["reports"] if each["kind"] == "scan"]
    assert {each["name"]: each["value"] for each in report["headlines"]}["ssn validated"] == "240"
    return str(report["digest"])


def tried(here: Governed, egress: Job) -> None:
    """What the record says of egress is what the training pod has told, before the data were mounted and while it trained."""
    (pod,) = [each for each in here.tenant.pods("good") if each["metadata"]["labels"]["finetune.dev/step"] == "train"]
    name = pod["metadata"]["name"]
    (before,) = told(here.kubectl.run("logs", "-n", NAMESPACE, name, "-c", "preflight"))
    later = {each["digest"]: each for each in told(here.tenant.log(name))}
    assert egress["result"] == "Closed"
    assert egress["logDigest"] == before["digest"]
    assert egress["watchDigest"] in later
    assert egress["watchRounds"] == later[egress["watchDigest"]]["rounds"] >= 1


def test_row_20_an_adapter_is_not_served_where_its_regime_is_not_cleared(here: Governed, good: Job) -> None:
    """In a namespace that is cleared for its level, and not for the people whose numbers were in the rows."""
    kubectl, artifact = here.kubectl, good["status"]["artifact"]
    kubectl.run("create", "namespace", ELSEWHERE)
    kubectl.run("label", "namespace", ELSEWHERE, "finetune.dev/governed=true", f"{CLEARANCE}=internal")
    there = Governed(kubectl, ELSEWHERE, here.submitter)
    asked = {**DEPLOYED, "adapter": {"uri": artifact["uri"], "digest": artifact["digest"]}}
    with pytest.raises(KubectlError, match="AdapterNotCleared"):
        there.create("AdapterDeployment", "tour", asked, {**DECLARED, PII: "true"})
    there.create("AdapterDeployment", "tour", asked, DECLARED)
    served = Served(kubectl, "tour", ELSEWHERE)
    refused = served.wait(lambda found: conditions(found).get("Governed", {}).get("status") == "False")
    assert "AdapterNotCleared" in conditions(refused)["Governed"]["message"]
    assert conditions(refused)["Ready"]["status"] == "False"
    assert served.pods("server") == served.pods("router") == []
    served.delete()
    kubectl.run("delete", "namespace", ELSEWHERE, "--wait=false")


def test_row_21_an_edited_record_reaches_no_engine_and_the_signed_one_is_served(here: Governed, good: Job) -> None:
    """The same pod refuses the one and takes the other: its agent reads the record on the volume before it takes a file."""
    served = Served(here.kubectl, "tour", NAMESPACE)
    meta = f"{artifact_folder(good)}.meta"
    here.on_claims(EDITED.format(folder=meta))
    here.create("AdapterDeployment", "tour", DEPLOYED, {**DECLARED, PII: "true"})
    refused = served.wait(lambda found: reason(found) == "Unverified")
    (pod,) = served.pods("server")
    assert f"pod {pod['metadata']['name']} refuses" in conditions(refused)["Ready"]["message"]
    assert not refused["status"].get("stable")
    here.on_claims(RESTORED.format(folder=meta))
    served.edit(retry="1")
    found = served.wait(lambda found: conditions(found).get("Ready", {}).get("status") == "True")
    assert served.pods("server")[0]["metadata"]["uid"] == pod["metadata"]["uid"]
    proof = found["status"]["desired"]["proof"]
    assert (proof["level"], proof["regimes"], proof["versions"]) == ("internal", ["phi", "pii"], [found["status"]["stable"]["version"]])
    with served.client() as client:
        assert client.chat.completions.create(model="tour", messages=QUESTIONS[0], max_tokens=8).choices
    served.delete()
