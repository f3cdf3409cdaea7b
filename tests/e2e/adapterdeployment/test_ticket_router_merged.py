"""Mode Merged on a real node: the job's adapter becomes a model with servers of its own, and so does the next one. One story, in order."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from demo import claims
from demo.environment import Environment
from demo.kubectl import conditions
from finetune_inference.artifact.contents import folder_digest
from finetune_inference.contract import digest_prefix_of, version_name
from finetune_operator.api.base import LABEL_DEPLOYMENT, LABEL_SERVING_ROLE
from tests.e2e.adapterdeployment.conftest import QUICK
from tests.e2e.adapterdeployment.dora import turn_into_dora
from tests.e2e.adapterdeployment.served import NAME, QUESTIONS, Object, Served, example, restarts
from tests.e2e.adapterdeployment.watched import Rollout, watched
from tests.e2e.tenant import NAMESPACE, Tenant, artifact_folder
from tests.e2e.tenant import merged as merge_patch

MERGED, MISTYPED = "merged-router", "mistyped-router"
FOLDER = "/claims/adapters/merged"
"""Beside the adapters: one claim that the merge reads and writes."""
DORA = "pvc://adapters/tests/dora"
SAMPLE = 4
RATE = 3.0
PATIENCE = 900
"""Seconds for a training on a machine that is busy with other things."""
ONE_SERVER = {"server": {"managed": {"replicas": 1}}}


@dataclass(frozen=True)
class Story:
    """``answers`` are those of mode Adapter to `QUESTIONS`; ``model`` is the first merged model's digest."""

    merged: Served
    job: Object
    answers: list[str]
    model: str

    @property
    def digest(self) -> str:
        """Of the adapter."""
        digest: str = self.job["status"]["artifact"]["digest"]
        return digest


@pytest.fixture(scope="module")
def mistyped(served: Served, tenant: Tenant) -> Iterator[Served]:
    """A deployment of the job's artifact by uri, with a digest that is another's; applied with the others, so that nobody waits for it."""
    job = tenant.wait_for(NAME, "Ready", seconds=PATIENCE)
    found = Served(served.kubectl, MISTYPED)
    adapter = {"fineTuneJobRef": None, "uri": job["status"]["artifact"]["uri"], "digest": f"sha256:{'0' * 64}"}
    found.apply(manifest(MISTYPED, adapter=adapter, preflight={"requireEvaluation": False}))
    yield found
    found.delete()


@pytest.fixture(scope="module")
def story(mistyped: Served, served: Served, tenant: Tenant) -> Iterator[Story]:
    """The same adapter in both modes, each with one server."""
    job = tenant.get(NAME)
    merged = Served(served.kubectl, MERGED)
    on_claims(merged, f"rm -rf {FOLDER}")  # of an earlier session with the same testbed
    place = {"mode": "Merged", "merge": {"uri": "pvc://adapters/merged", "resources": {"requests": {"cpu": "200m", "memory": "1Gi"}}}}
    base = {"digest": job["status"]["currentRun"]["inputs"]["baseDigest"]}
    changes = {"strategy": {"canary": None, "blueGreen": {}}, "analysis": None, "rollback": {"keepStableLoadedSeconds": 1}}
    merged.apply(manifest(MERGED, **place, baseModel=base, **changes))
    served.apply(manifest(NAME))
    for each in (served, merged):
        each.wait(lambda found: conditions(found).get("Ready", {}).get("status") == "True")
    served.wait(lambda _: len(served.pods("server")) == 2)  # one of each: what another story had left is gone
    status = merged.get()["status"]
    yield Story(merged, job, answers(served), status["stable"]["merged"]["digest"])
    merged.delete()


def manifest(name: str, **changes: object) -> Object:
    """The example's deployment under another name, with one server."""
    document = example("adapterdeployment-tiny.yaml", **QUICK)
    document["metadata"]["name"] = document["spec"]["modelName"] = name
    document["spec"] = merge_patch(merge_patch(document["spec"], ONE_SERVER), changes)
    return document


def answers(of: Served, version: str = "") -> list[str]:
    """What the alias says to the sample, by this version alone if one is named."""
    said = []
    with of.client() as client:
        for question in QUESTIONS[:SAMPLE]:
            raw = client.chat.completions.with_raw_response.create(model=of.name, messages=question, max_tokens=40, temperature=0)
            assert version in ("", raw.headers["x-adapter-version"])
            said.append(raw.parse().choices[0].message.content or "")
    return said


def own(of: Served, kinds: str, *roles: str) -> list[Object]:
    """Its objects of these roles, or all that it has."""
    chosen = [f"{LABEL_DEPLOYMENT}={of.name}", *([f"{LABEL_SERVING_ROLE} in ({','.join(roles)})"] if roles else [])]
    found: list[Object] = of.kubectl.get(kinds, "-n", NAMESPACE, "-l", ",".join(chosen)).get("items", [])
    return found


def inside(of: Served, container: str, script: str) -> set[str]:
    """Words that a shell in its one server says."""
    (pod,) = own(of, "pods", "server")
    command = ("exec", "-n", NAMESPACE, pod["metadata"]["name"], "-c", container, "--", "sh", "-c", script)
    return set(of.kubectl.run(*command).split())


def on_claims(of: Served, script: str) -> None:
    """Run a script where all claims are."""
    of.kubectl.run("exec", "-n", NAMESPACE, claims.LOADER, "--", "sh", "-c", script)


def test_a_digest_that_the_files_do_not_have_is_refused_by_the_pod_that_reads_them(mistyped: Served, story: Story) -> None:
    """And no server was made for it."""
    found = mistyped.wait(lambda found: conditions(found).get("Stalled", {}).get("status") == "True")
    accepted = conditions(found)["Accepted"]
    assert (accepted["status"], accepted["reason"]) == ("False", "ArtifactRefused")
    assert "DigestMismatch" in accepted["message"]
    assert story.digest in accepted["message"]
    (pod,) = own(mistyped, "pods", "check")
    assert pod["status"]["phase"] == "Failed"
    assert own(mistyped, "deployments,services,poddisruptionbudgets,serviceaccounts,roles,rolebindings") == []


def test_the_merge_is_one_pod_of_the_trainers_image_that_ends_well(story: Story, installed: Environment) -> None:
    (pod,) = own(story.merged, "pods", "merge")
    (container,) = pod["spec"]["containers"]
    assert pod["status"]["phase"] == "Succeeded"
    assert container["image"].rpartition("@")[2] == installed.trainer_image.rpartition("@")[2]
    assert [job["status"]["succeeded"] for job in own(story.merged, "jobs", "merge")] == [1]


def test_network_policies_of_merge_and_servers_are_as_the_api_server_took_them(story: Story) -> None:
    policies = {policy["metadata"]["name"]: policy["spec"] for policy in own(story.merged, "networkpolicies")}
    assert sorted(policies) == [f"merge-{MERGED}", f"server-{MERGED}"]
    assert not {"ingress", "egress"} & policies[f"merge-{MERGED}"].keys()
    for role in ("merge", "server"):
        (pod,) = own(story.merged, "pods", role)
        assert policies[f"{role}-{MERGED}"]["podSelector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()


def test_on_the_claim_lie_the_model_and_what_describes_it_and_nothing_half_done(story: Story, tenant: Tenant) -> None:
    digits = story.model.removeprefix("sha256:")
    found = {path.removeprefix(f"{FOLDER}/") for path in tenant.files(FOLDER)}
    assert {path.partition("/")[0] for path in found} <= {digits, f"{digits}.meta", ".merges"}
    assert {f"{digits}/config.json", f"{digits}/model.safetensors", f"{digits}.meta/record.json"} <= found
    record = json.loads(tenant.read(f"{FOLDER}/{digits}.meta/record.json"))
    assert (record["artifactDigest"], record["merge"]["adapterDigest"]) == (story.model, story.digest)


def test_its_server_sees_the_merged_model_alone_and_writes_nothing_of_it(story: Story) -> None:
    digits = digest_prefix_of(version_name(MERGED, story.digest))
    look = f"ls /mnt /mnt/*; touch /mnt/merged/{digits}/mine 2>/dev/null || echo refused"
    assert {word for word in inside(story.merged, "engine", look) if not word.startswith("/")} == {"merged", digits, "refused"}
    assert f"{digits}.meta" in inside(story.merged, "agent", look)
    assert restarts(own(story.merged, "pods", "server")) == 0


def test_the_merged_model_answers_what_the_adapter_answers(story: Story) -> None:
    assert answers(story.merged, version_name(MERGED, story.digest)) == story.answers
    assert all(json.loads(answer) for answer in story.answers)


@pytest.fixture(scope="module")
def update(story: Story, tenant: Tenant, base_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Rollout:
    """The adapter as a DoRA adapter, which changes the base model alike; by uri and digest."""
    folder = tenant.fetch(artifact_folder(story.job), tmp_path_factory.mktemp("dora") / "adapter")
    turn_into_dora(folder, base_model)
    claims.put(story.merged.kubectl, NAMESPACE, folder, f"/claims/{DORA.removeprefix('pvc://')}")
    digest = folder_digest(folder)
    with story.merged.traffic(RATE) as load:
        adapter = {"fineTuneJobRef": None, "uri": DORA, "digest": digest}
        story.merged.edit(adapter=adapter, preflight={"requireEvaluation": False})
        return watched(story.merged, digest, load)


def test_another_adapter_gets_servers_of_its_own_and_then_all_callers(update: Rollout, story: Story) -> None:
    assert (update.entry["outcome"], update.entry["version"]) == ("Promoted", update.version)
    assert update.end["status"]["stable"]["merged"]["digest"] != story.model
    assert {record.version for record in update.after()} == {update.version}
    assert answers(story.merged, update.version) == story.answers


def test_no_request_fails_as_the_servers_change(update: Rollout, story: Story) -> None:
    assert [record for record in update.records if record.failure] == []
    assert set(update.answers()) == {version_name(MERGED, story.digest), update.version}


def test_the_former_versions_servers_go_once_its_time_is_over(update: Rollout, story: Story) -> None:
    story.merged.wait(lambda _: len(own(story.merged, "deployments", "server")) == 1)
    (deployment,) = own(story.merged, "deployments", "server")
    assert deployment["metadata"]["name"] == f"server-{MERGED}-{digest_prefix_of(update.version)}"


def test_a_model_that_was_changed_on_the_claim_is_read_by_no_engine(update: Rollout, story: Story) -> None:
    """The kubelet starts a new server's engine once its agent has found the files to be those that were merged; who serves goes on."""
    before = {pod["metadata"]["name"] for pod in own(story.merged, "pods", "server")}
    config = f"{FOLDER}/{update.end['status']['stable']['merged']['digest'].removeprefix('sha256:')}/config.json"
    on_claims(story.merged, f"echo >> {config}")
    story.merged.edit(server={"managed": {"replicas": 2}})
    story.merged.wait(lambda found: "DigestMismatch" in json.dumps(conditions(found).get("Loaded", {})))
    (pod,) = [pod for pod in own(story.merged, "pods", "server") if pod["metadata"]["name"] not in before]
    (engine,) = pod["status"]["containerStatuses"]
    assert (engine["started"], list(engine["state"]), engine["restartCount"]) == (False, ["waiting"], 0)
    assert answers(story.merged, update.version) == story.answers


def test_deleting_leaves_the_models_on_the_claim_and_nothing_else(update: Rollout, story: Story, tenant: Tenant) -> None:
    models = {digest.removeprefix("sha256:") for digest in (story.model, update.end["status"]["stable"]["merged"]["digest"])}
    story.merged.delete()
    kinds = "deployments,jobs,pods,services,networkpolicies,poddisruptionbudgets"
    story.merged.kubectl.run("wait", "--for=delete", kinds, "-n", NAMESPACE, "-l", f"{LABEL_DEPLOYMENT}={MERGED}", "--timeout=120s")
    assert own(story.merged, kinds) == []
    left = {path.removeprefix(f"{FOLDER}/").partition("/")[0] for path in tenant.files(FOLDER)}
    assert left - {".merges"} == models | {f"{digits}.meta" for digits in models}
