"""Job, adapter, deployment, answers; an update reaches all callers, and a bad adapter is taken back. The tests are one story, in order."""

import json
import os
import signal
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import jsonschema
import openai
import pytest
from safetensors.numpy import load_file, save_file

from demo import claims
from demo.install import NAMESPACE as OPERATOR_NAMESPACE
from demo.kubectl import KubectlError, conditions
from finetune_inference.artifact.contents import folder_digest
from finetune_inference.contract import version_name
from finetune_operator.api.base import GROUP
from tests.e2e.adapterdeployment.served import ALIAS, NAME, QUESTIONS, Object, Served, restarts
from tests.e2e.adapterdeployment.watched import Rollout, watched
from tests.e2e.conftest import PIN
from tests.e2e.tenant import NAMESPACE, Tenant, artifact_folder

RATE = 6.0
SAMPLE = 8
PATIENCE = 900
"""Seconds for a training on a machine that is busy with other things."""
ASK = {"model": ALIAS, "max_tokens": 40, "temperature": 0}


@dataclass(frozen=True)
class First:
    """The first adapter behind the alias; ``waited`` are the server pods that were there before it, ``early`` what the alias said then."""

    job: Object
    digest: str
    waited: list[str]
    early: openai.APIStatusError

    @property
    def version(self) -> str:
        return version_name(ALIAS, self.digest)


@pytest.fixture(scope="module")
def first(served: Served, tenant: Tenant) -> First:
    served.wait(lambda found: served.pods("server") and all(running(pod) for pod in served.pods("router")))
    early = refusal(served)
    job = tenant.wait_for(NAME, "Ready", seconds=PATIENCE)
    waited = names(served.pods("server"))
    served.wait(lambda found: conditions(found).get("Ready", {}).get("status") == "True")
    served.wait(lambda _: all(running(pod) for pod in everything(served)))  # which the kubelet asks every few seconds
    return First(job, job["status"]["artifact"]["digest"], waited, early)


def running(pod: Object) -> bool:
    ready = {condition["type"]: condition["status"] for condition in pod["status"].get("conditions", [])}
    return ready.get("Ready") == "True"


def everything(served: Served) -> list[Object]:
    return [*served.pods("server"), *served.pods("router")]


def names(pods: list[Object]) -> list[str]:
    return [str(pod["metadata"]["name"]) for pod in pods]


def refusal(served: Served, **changes: str) -> openai.APIStatusError:
    """What a question is refused with."""
    with served.client() as client, pytest.raises(openai.APIStatusError) as refused:
        client.chat.completions.create(messages=QUESTIONS[0], **{**ASK, **changes})
    return refused.value


def test_before_there_is_an_adapter_the_alias_is_refused(first: First) -> None:
    """And not answered by the base model, which the pods have by then."""
    assert first.early.status_code in (404, 503), first.early


def test_the_pods_that_waited_serve_the_first_adapter(first: First, served: Served) -> None:
    """Where it will lie is known from the job, so its claim is mounted before."""
    assert len(first.waited) == 2
    assert names(served.pods("server")) == first.waited


def test_the_namespace_runs_two_servers_and_two_routers_none_of_which_had_to_start_again(first: First, served: Served) -> None:
    assert (len(served.pods("server")), len(served.pods("router"))) == (2, 2)
    assert restarts(everything(served)) == 0


def test_what_the_alias_answers_is_what_the_job_taught(first: First, served: Served) -> None:
    """The base model answers none of these with such an object; that is what the job's gate measured."""
    schema = json.loads(served.kubectl.get("configmap", "ticket-routing", "-n", NAMESPACE)["data"]["schema.json"])
    fits = jsonschema.Draft202012Validator(schema).is_valid
    with served.client() as client:
        assert [model.id for model in client.models.list()] == [ALIAS]
        for question in QUESTIONS[:SAMPLE]:
            answer = client.chat.completions.with_raw_response.create(messages=question, **ASK)
            whole = answer.parse()
            assert answer.headers["x-adapter-version"] == first.version
            assert whole.model == ALIAS
            assert whole.choices[0].finish_reason == "stop"
            assert fits(json.loads(whole.choices[0].message.content or ""))
            with client.chat.completions.create(messages=question, stream=True, **ASK) as stream:
                pieces = [chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices]
            assert "".join(pieces) == whole.choices[0].message.content
            assert len(pieces) > 1


def test_a_completion_without_a_chat_is_answered_too(first: First, served: Served) -> None:
    with served.client() as client:
        assert client.completions.create(prompt="ticket:", **ASK).choices[0].text


@pytest.mark.parametrize("model", ["base", "finetune-base", "tiny-chat", f"{ALIAS}--0123456789ab"])
def test_no_other_name_is_answered(model: str, first: First, served: Served) -> None:
    assert refusal(served, model=model).status_code == 404


def test_a_caller_needs_a_key_of_the_mounted_secret(first: First, served: Served) -> None:
    with served.client(key="nobody's") as client, pytest.raises(openai.AuthenticationError):
        client.chat.completions.create(messages=QUESTIONS[0], **ASK)


def test_the_operators_requests_are_known_by_the_mounted_token(first: First, served: Served) -> None:
    pinned = {"x-adapter-version": first.version, "x-adapter-pin-token": PIN}
    with served.client(key="nobody's") as client:
        answer = client.chat.completions.with_raw_response.create(messages=QUESTIONS[0], extra_headers=pinned, **ASK)
        assert answer.headers["x-adapter-version"] == first.version
        with pytest.raises(openai.PermissionDeniedError):
            client.chat.completions.create(messages=QUESTIONS[0], extra_headers={**pinned, "x-adapter-pin-token": "guessed"}, **ASK)


@pytest.mark.parametrize("place", ["/", "/app", "/mnt/base", "/var/lib/finetune/store", "/var/lib/finetune/state", "/mnt/claims"])
def test_the_engine_writes_nowhere_but_to_its_own_temporary_folder(place: str, first: First, served: Served) -> None:
    pod = names(served.pods("server"))[0]
    said = inside(served, pod, "engine", f"touch /tmp/mine && touch {place}/mine 2>/dev/null || echo refused")
    assert said == "refused"


def test_of_a_server_pod_the_agent_alone_has_a_token_and_the_adapters_claim_to_read(first: First, served: Served) -> None:
    pod = names(served.pods("server"))[0]
    look = "cd /mnt/claims 2>/dev/null; ls . /var/run/secrets/*/serviceaccount 2>/dev/null; touch adapters/mine 2>/dev/null || echo refused"
    engine = set(inside(served, pod, "engine", look).split())
    assert "refused" in engine
    assert not {"token", "adapters"} & engine
    assert {"token", "ca.crt", "namespace", "adapters", "refused"} <= set(inside(served, pod, "agent", look).split())


def inside(served: Served, pod: str, container: str, script: str) -> str:
    return served.kubectl.run("exec", "-n", NAMESPACE, pod, "-c", container, "--", "sh", "-c", script).strip()


def test_the_operator_has_the_token_that_its_own_requests_need(first: First, served: Served) -> None:
    """Its Secret came after the chart: the kubelet renews an optional volume within a minute or so."""
    where = ("-n", OPERATOR_NAMESPACE, "deployment/finetune-operator", "--", "cat", "/etc/finetune/pin/token")

    def there(_: Object) -> bool:
        try:
            return served.kubectl.run("exec", *where) == PIN
        except KubectlError:
            return False

    served.wait(there)


def test_network_policies_budgets_and_rights_are_as_the_api_server_took_them(first: First, served: Served) -> None:
    """The testbed's network enforces no policy: that these are objects Kubernetes takes, and what they say, is all that is shown here."""
    policies = {item["metadata"]["name"]: item["spec"] for item in served.kubectl.get("networkpolicies", "-n", NAMESPACE)["items"]}
    assert sorted(policies) == ["finetune-router", f"server-{NAME}"]
    opened = {name: [[port["port"] for port in rule["ports"]] for rule in spec["ingress"]] for name, spec in policies.items()}
    assert opened == {"finetune-router": [[8000], [9100]], f"server-{NAME}": [[8000], [8090]]}
    assert all(spec["policyTypes"] == ["Ingress", "Egress"] and spec["egress"] for spec in policies.values())
    for pod in everything(served):
        chosen = [
            name for name, spec in policies.items() if spec["podSelector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()
        ]
        assert len(chosen) == 1
    budgets = served.kubectl.get("poddisruptionbudgets", "-n", NAMESPACE)["items"]
    assert {item["metadata"]["name"] for item in budgets} == set(policies)


@pytest.mark.parametrize(
    ("account", "verb", "resource", "allowed"),
    [
        ("finetune-agent", "watch", "adapterdeployments", True),
        ("finetune-agent", "list", "pods", False),
        ("finetune-router", "watch", "pods", True),
        ("finetune-router", "list", "secrets", False),
        ("finetune-router", "patch", "adapterdeployments", False),
    ],
)
def test_agents_and_routers_may_read_what_concerns_them(
    account: str, verb: str, resource: str, allowed: bool, first: First, served: Served
) -> None:
    group = GROUP if resource == "adapterdeployments" else ""
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {
            "user": f"system:serviceaccount:{NAMESPACE}:{account}",
            "groups": ["system:serviceaccounts", f"system:serviceaccounts:{NAMESPACE}", "system:authenticated"],
            "resourceAttributes": {"namespace": NAMESPACE, "verb": verb, "group": group, "resource": resource},
        },
    }
    answer = json.loads(served.kubectl.run("create", "-f", "-", "-o", "json", stdin=json.dumps(review).encode()))
    assert answer["status"]["allowed"] is allowed


@pytest.fixture(scope="module")
def update(first: First, served: Served, tenant: Tenant) -> Rollout:
    """The job is edited, and nothing else."""
    tenant.edit(NAME, {"training": {"learningRate": "4e-3"}})
    job = tenant.wait(NAME, lambda found: conditions(found).get("Ready", {}).get("status") == "True", PATIENCE)
    with served.traffic(RATE) as load:
        return watched(served, job["status"]["artifact"]["digest"], load)


def test_a_new_adapter_of_the_job_reaches_all_callers(update: Rollout, first: First) -> None:
    assert update.digest != first.digest
    assert (update.entry["outcome"], update.entry["version"]) == ("Promoted", update.version)
    assert update.end["status"]["stable"]["version"] == update.version
    assert {record.version for record in update.after()} == {update.version}


def test_no_request_fails_in_an_update_and_each_is_answered_by_the_old_or_the_new_version(update: Rollout, first: First) -> None:
    assert [record for record in update.records if record.failure] == []
    assert set(update.answers()) == {first.version, update.version}


def test_nobody_goes_back_to_the_old_version_while_the_share_of_the_new_one_rises(update: Rollout) -> None:
    of_caller: dict[str, list[str]] = {}
    for record in sorted(update.records, key=lambda record: record.began):
        of_caller.setdefault(record.caller, []).append(record.version)
    for versions in of_caller.values():
        assert versions == sorted(versions, key=lambda version: version == update.version)


@pytest.fixture(scope="module")
def bad(update: Rollout, served: Served, tenant: Tenant, tmp_path_factory: pytest.TempPathFactory) -> Rollout:
    """The adapter with its sign turned round loads well and talks nonsense; by uri and digest it goes to a third of the callers at once."""
    folder = tenant.fetch(artifact_folder(tenant.get(NAME)), tmp_path_factory.mktemp("bad") / "adapter")
    weights = load_file(folder / "adapter_model.safetensors")
    save_file({name: -tensor if "lora_B" in name else tensor for name, tensor in weights.items()}, folder / "adapter_model.safetensors")
    claims.put(served.kubectl, NAMESPACE, folder, "/claims/adapters/tests/bad")
    digest = folder_digest(folder)
    with served.traffic(RATE) as load:
        served.edit(
            adapter={"fineTuneJobRef": None, "uri": "pvc://adapters/tests/bad", "digest": digest},
            preflight={"requireEvaluation": False},
            strategy={"canary": {"steps": [{"weight": 30, "bakeSeconds": 600, "analysis": ["Errors", "Schema"]}]}},
        )
        return watched(served, digest, load)


def test_a_bad_adapter_is_taken_back_with_the_check_and_its_numbers(bad: Rollout, served: Served) -> None:
    assert bad.entry["outcome"] == "RolledBack"
    stalled, ready = conditions(bad.end)["Stalled"], conditions(bad.end)["Ready"]
    assert (stalled["status"], stalled["reason"], ready["status"], ready["reason"]) == ("True", "RolledBack", "False", "RolledBack")
    assert "Schema: " in ready["message"]
    assert "canary answers did not fit the output schema" in ready["message"]
    assert bad.digest in [failed["digest"] for failed in bad.end["status"]["failedVersions"]]
    described = served.kubectl.run("describe", "adep", NAME, "-n", NAMESPACE)
    assert "canary answers did not fit the output schema" in described


def test_no_request_fails_while_a_bad_adapter_comes_and_goes_and_stable_answers_all_after_it(bad: Rollout, update: Rollout) -> None:
    assert [record for record in bad.records if record.failure] == []
    assert set(bad.answers()) == {update.version, bad.version}
    assert {record.version for record in bad.after()} == {update.version}
    assert bad.end["status"]["stable"]["version"] == update.version


def test_a_killed_engine_has_its_adapter_back_before_its_pod_is_ready(bad: Rollout, update: Rollout, served: Served) -> None:
    pod = served.pods("server")[0]["metadata"]["name"]
    before = served.kubectl.get("pod", pod, "-n", NAMESPACE)
    os.kill(engine_of(before), signal.SIGKILL)

    def back(_: Object) -> bool:
        now = served.kubectl.get("pod", pod, "-n", NAMESPACE)
        return restarts([now]) == restarts([before]) + 1 and running(now)

    served.wait(back)
    now = served.kubectl.get("pod", pod, "-n", NAMESPACE)
    listed = json.loads(served.kubectl.run("get", "--raw", f"/api/v1/namespaces/{NAMESPACE}/pods/{pod}:8000/proxy/v1/models"))
    (loaded,) = [model["created"] for model in listed["data"] if model["id"] == update.version]
    (ready,) = [condition["lastTransitionTime"] for condition in now["status"]["conditions"] if condition["type"] == "Ready"]
    (engine,) = now["status"]["containerStatuses"]
    assert seconds(engine["state"]["running"]["startedAt"]) <= loaded <= seconds(ready)
    print(f"adapter served again {loaded - seconds(engine['lastState']['terminated']['finishedAt'])} s after its engine was killed")


def engine_of(pod: Object) -> int:
    """The process of this host that is the pod's engine."""
    (status,) = pod["status"]["containerStatuses"]
    container = status["containerID"].rpartition("/")[2]
    (found,) = [entry for entry in Path("/proc").iterdir() if entry.name.isdigit() and container in read(entry / "cgroup")]
    return int(found.name)


def read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""  # it has ended meanwhile


def seconds(moment: str) -> int:
    return int(datetime.fromisoformat(moment).timestamp())


def test_deleting_leaves_nothing_of_it(bad: Rollout, served: Served) -> None:
    """Last: nobody answers after it."""
    served.delete()
    kinds = "deployments,services,serviceaccounts,roles,rolebindings,networkpolicies,poddisruptionbudgets"
    managed = "app.kubernetes.io/name=finetune-serving"
    served.kubectl.run("wait", "--for=delete", kinds, "-n", NAMESPACE, "-l", managed, "--timeout=120s")
    assert served.kubectl.get(kinds, "-n", NAMESPACE, "-l", managed) == {}
