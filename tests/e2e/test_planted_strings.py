"""Names, numbers and a secret of rows lie where data lie, and with those of questions nowhere else in what a testbed stores."""

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from demo import claims
from demo.install import NAMESPACE as OPERATOR_NAMESPACE
from demo.kubectl import Kubectl, conditions
from examples import tickets
from finetune_testbed.bed import Testbed
from finetune_testbed.node.layout import NodeLayout
from finetune_trainer.contract import PROGRESS_PORT
from tests.e2e.adapterdeployment.served import Served
from tests.e2e.beside import Judge, Tracker, judging
from tests.e2e.planted import ASKED, ROWS, files, found_below, is_core, written
from tests.e2e.tenant import NAMESPACE, Job, Tenant, artifact_folder, manifest, merged

JOBS = {
    "planted": manifest("planted", dataset={"inline": {"uri": "pvc://datasets/planted/good.jsonl", "format": "Messages"}}, task=None),
    "planted-bad": manifest(
        "planted-bad", dataset={"inline": {"uri": "pvc://datasets/planted/bad.jsonl", "format": "Messages"}}, task=None
    ),
    "planted-torn": manifest("planted-torn", dataset={"inline": {"uri": "pvc://datasets/planted/torn.jsonl"}}, task=None),
    "planted-large": manifest(
        "planted-large",
        dataset={"inline": {"uri": "pvc://datasets/planted/good.jsonl", "format": "Messages"}},
        task=None,
        resources={"requests": {"memory": "200Mi"}, "limits": {"memory": "200Mi"}},
        runPolicy={"maxAttempts": 1},
    ),
}
"""One that trains, one whose rows are all wrong, one with a file that breaks off, and one that the kernel kills."""
ENDS = {"planted": "RunSucceeded", "planted-bad": "DataRejected", "planted-torn": "DataRejected", "planted-large": "OutOfMemory"}


def rows() -> Iterator[Job]:
    for number, row in enumerate(tickets.rows(240, seed=5)):
        system, asked, answered = row["messages"]
        asked = {**asked, "content": f"{asked['content']} {ROWS['name in a prompt']}, card {ROWS['card in a prompt']}."}
        answered = {**answered, "content": f"{ROWS['name in an answer']} {ROWS['secret in an answer']} {number}"}
        yield {"messages": [system, asked, answered]}


def mistaken() -> list[object]:
    """Rows that readers of data are tempted to quote."""
    message = {"role": "user", "content": ROWS["name in a prompt"]}
    return [
        {"messages": [{**message, "role": ROWS["name as a role"]}]},
        {"messages": [{ROWS["name as a key"]: ROWS["name in an answer"]}]},
        {ROWS["name as a key"]: ROWS["card in a prompt"]},
        {"messages": ROWS["name in what is not a row"]},
        ROWS["name in what is not a row"],
        [ROWS["name in what is not a row"]],
    ]


@pytest.fixture(scope="module")
def served(tenant: Tenant, kubectl: Kubectl) -> Iterator[Served]:
    """Serves what was trained on the planted rows, once there is an adapter."""
    made = Served(kubectl, "planted")
    made.delete()
    resources = {"requests": {"cpu": "200m", "memory": "512Mi"}, "limits": {"memory": "2Gi"}}
    spec = {
        "modelName": "planted",
        "adapter": {"fineTuneJobRef": {"name": "planted"}},
        "baseModel": {"uri": "pvc://models/tiny-chat"},
        "server": {"managed": {"replicas": 1, "resources": resources}},
        "preflight": {"requireEvaluation": False},
        "rollback": {"drainTimeoutSeconds": 1},
    }
    metadata = {"name": "planted", "namespace": NAMESPACE}
    made.apply({"apiVersion": "finetune.dev/v1alpha1", "kind": "AdapterDeployment", "metadata": metadata, "spec": spec})
    yield made
    made.delete()


@pytest.fixture(scope="module")
def judge(t3: Testbed, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Judge]:
    with judging(t3, tmp_path_factory.mktemp("judged"), rows()) as made:
        yield made


@pytest.fixture(scope="module")
def ended(
    tenant: Tenant, kubectl: Kubectl, served: Served, tracker: Tracker, judge: Judge, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Job]]:
    folder = tmp_path_factory.mktemp("planted")
    good = "".join(json.dumps(row) + "\n" for row in [*rows(), *mistaken()])
    (folder / "good.jsonl").write_text(good)
    (folder / "bad.jsonl").write_text("".join(json.dumps(row) + "\n" for row in mistaken() * 20))
    (folder / "torn.jsonl").write_text(good + json.dumps({"messages": [{"role": "user", "content": ROWS["name in a torn row"]}]})[:-4])
    claims.put(kubectl, NAMESPACE, folder, "/claims/datasets/planted")
    told: Job = {"tracking": tracker.tracking, "evaluation": {"metrics": ["ExactMatch", "Judge"], **judge.evaluation}}
    tenant.start(*({**job, "spec": merged(job["spec"], told)} for job in JOBS.values()))
    pod = tenant.training_pod("planted")["metadata"]["name"]
    tenant.follow_until(pod, "progress")
    kubectl.run("get", "--raw", f"/api/v1/namespaces/{NAMESPACE}/pods/{pod}:{PROGRESS_PORT}/proxy/metrics")
    yield {name: tenant.wait_decided(name) for name in JOBS}
    for name in JOBS:
        tenant.delete(name)


@pytest.fixture(scope="module")
def asked(ended: dict[str, Job], served: Served) -> dict[str, int]:
    """What came of each question, by what was planted in it."""
    served.wait(lambda found: conditions(found).get("Ready", {}).get("status") == "True")
    return {what: sent(f"{served.url}{path}", body) for what, path, body in questions()}


def sent(url: str, body: bytes) -> int:
    """The status of the answer, once that is read to its end."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, body, {"Content-Type": "application/json"}), timeout=120) as answer:
            answer.read()
            return int(answer.status)
    except urllib.error.HTTPError as refused:
        return refused.code


def questions() -> Iterator[tuple[str, str, bytes]]:
    """Those that are answered, and those that nobody can answer and somebody may quote."""
    name, chat = ASKED["name in a question"], "/v1/chat/completions"
    said = f"I am {name}, card {ASKED['card in a question']}, token {ASKED['secret in a question']}."
    system = {"role": "system", "content": f"You work for {ASKED['name in a system message']}."}
    good: Job = {"model": "planted", "messages": [system, {"role": "user", "content": said}], "max_tokens": 40, "user": name}
    yield "name in a question", chat, _json(good)
    yield "name in a stream", chat, _json({**good, "messages": [_user(ASKED["name in a stream"])], "stream": True})
    yield "name in a completion", "/v1/completions", _json({"model": "planted", "prompt": ASKED["name in a completion"], "max_tokens": 8})
    long = ASKED["name in a question that is too long"] + " ticket" * 20_000
    yield "name in a question that is too long", chat, _json({**good, "messages": [_user(long)]})
    torn = _json({**good, "messages": [_user(ASKED["name in a body that breaks off"])]})[:-30]
    yield "name in a body that breaks off", chat, torn
    yield "name in a body that is not JSON", chat, ASKED["name in a body that is not JSON"].encode()
    yield (
        "name as a role of a message",
        chat,
        _json({**good, "messages": [{"role": ASKED["name as a role of a message"], "content": said}]}),
    )
    yield "name as a key of a message", chat, _json({**good, "messages": [{ASKED["name as a key of a message"]: said}]})
    yield "name where messages belong", chat, _json({**good, "messages": ASKED["name where messages belong"]})
    yield "name where a number belongs", chat, _json({**good, "max_tokens": ASKED["name where a number belongs"]})
    yield "name in a key of the request", chat, _json({**good, ASKED["name in a key of the request"]: said})
    yield "name of a model that nobody has", chat, _json({**good, "model": ASKED["name of a model that nobody has"]})


def _user(text: str) -> Job:
    return {"role": "user", "content": text}


def _json(document: Job) -> bytes:
    return json.dumps(document).encode()


def test_questions_are_answered_or_refused_and_none_ends_in_a_defect(asked: dict[str, int]) -> None:
    answered = {what for what, status in asked.items() if status == 200}
    assert answered >= {"name in a question", "name in a stream", "name in a completion"}, asked
    refused = {"name in a body that breaks off", "name in a body that is not JSON", "name where messages belong"}
    assert {asked[what] for what in refused} == {400}
    assert asked["name of a model that nobody has"] == 404
    assert max(asked.values()) < 500, asked


def test_they_are_where_data_lie_and_nowhere_else(
    ended: dict[str, Job], asked: dict[str, int], served: Served, tenant: Tenant, kubectl: Kubectl, t3: Testbed, tmp_path: Path
) -> None:
    assert {name: conditions(job)["Ready"]["reason"] for name, job in ended.items()} == ENDS
    layout, planted = NodeLayout(t3), {**ROWS, **ASKED}
    assert found_below([layout.volumes], planted).keys() >= {"name in a prompt", "name in a torn row", "card in a prompt"}  # it can find
    in_containers = written(layout.containerd_state)
    assert len(in_containers) >= len(served.pods("router")) + 2
    stored = [t3.state_dir / "etcd", t3.logs, layout.pod_logs, layout.kubelet, layout.containerd_state, *in_containers]
    assert all(place.is_dir() for place in stored)
    routers = [str(pod["metadata"]["name"]) for pod in served.pods("router")]
    searched = found_below(stored, {**planted, "what was asked for": "planted-large", "a router's log": routers[0]})
    assert searched.keys() == {"what was asked for", "a router's log"}, searched
    (tmp_path / "told").mkdir()
    (tmp_path / "told" / "metrics").write_text(metrics(kubectl) + serving_metrics(served))
    tenant.fetch(artifact_folder(ended["planted"]) + ".meta", tmp_path / "told" / "meta")
    assert (tmp_path / "told" / "meta" / "record.json").is_file()
    (tmp_path / "told" / "meta" / "examples.json").unlink()  # texts are what it is for, on the volume of whoever owns the data
    assert found_below([tmp_path / "told"], planted) == {}
    assert [path for path in files([*stored, layout.volumes]) if path.name.startswith("core") and is_core(path)] == []


def test_a_tracker_is_told_figures_and_a_judge_what_it_judges(ended: dict[str, Job], tracker: Tracker, judge: Judge) -> None:
    """Searched is all that pods have sent and all that the tracker has stored. A judge is shown rows, hence the policies' `judgeHosts`."""
    (run,) = tracker.server.runs(f"{NAMESPACE}/planted")
    assert run["info"]["status"] == "FINISHED"
    assert conditions(ended["planted"])["Tracked"]["reason"] == "Tracked"
    words = {**ROWS, **ASKED, "a digest": "finetune.artifact_digest"}
    for place in (tracker.heard, tracker.server.folder):
        assert found_below([place], words).keys() == {"a digest"}, place
    judged = ended["planted"]["status"]["evaluation"]["judge"]
    assert (judged["usable"], judged["calibrationRight"]) == (True, judged["calibrationPairs"]), judged
    assert found_below([judge.heard], words).keys() == {"name in a prompt", "card in a prompt", "name in an answer", "secret in an answer"}


def metrics(kubectl: Kubectl) -> str:
    pods = kubectl.get("pods", "-n", OPERATOR_NAMESPACE, "-l", "app.kubernetes.io/name=finetune-operator")["items"]
    paths = [f"/api/v1/namespaces/{OPERATOR_NAMESPACE}/pods/{pod['metadata']['name']}:9090/proxy/metrics" for pod in pods]
    text = "".join(kubectl.run("get", "--raw", path) for path in paths)
    assert "finetune" in text
    return text


def serving_metrics(served: Served) -> str:
    """Of routers, engines and agents, and what an agent says of itself."""
    places = [(pod, "9100", "metrics") for pod in served.pods("router")]
    places += [
        (pod, port, path) for pod in served.pods("server") for port, path in (("8000", "metrics"), ("8090", "metrics"), ("8090", "status"))
    ]
    paths = [f"/api/v1/namespaces/{NAMESPACE}/pods/{pod['metadata']['name']}:{port}/proxy/{path}" for pod, port, path in places]
    return "".join(served.kubectl.run("get", "--raw", path) for path in paths)
