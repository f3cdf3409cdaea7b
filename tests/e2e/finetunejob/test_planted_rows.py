"""Names, numbers and a secret of the rows lie on the volumes that hold the data, and nowhere else in what a testbed stores."""

import json
import re
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
from tests.e2e.tenant import NAMESPACE, Job, Tenant, artifact_folder, manifest

PLANTED = {
    "name in a prompt": "Zebulon Quackenbush",
    "name in an answer": "Philomena Thistlewood",
    "card in a prompt": "4539 7214 8803 6467",
    "secret in an answer": "ghp_q7Zk2Vw9Xc4Rt6Yb8Nm1Lp3Ks5Jd0FhGaTe",
    "name as a role": "wolfgang-amadeus-ixtapaluca",
    "name as a key": "Ottoline Vanderquist",
    "name in a torn row": "Bartholomew Snodgrassington",
    "name in what is not a row": "Cornelius Featherstonehaugh",
}
MOUNTED = re.compile(r"/volume-subpaths/|/volumes/kubernetes\.io~(?!empty-dir)")
MOST_BYTES = 64 * 2**20
"""Files are searched in pieces of this size, which overlap."""
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
        asked = {**asked, "content": f"{asked['content']} {PLANTED['name in a prompt']}, card {PLANTED['card in a prompt']}."}
        answered = {**answered, "content": f"{PLANTED['name in an answer']} {PLANTED['secret in an answer']} {number}"}
        yield {"messages": [system, asked, answered]}


def mistaken() -> list[object]:
    """Rows that readers of data are tempted to quote."""
    message = {"role": "user", "content": PLANTED["name in a prompt"]}
    return [
        {"messages": [{**message, "role": PLANTED["name as a role"]}]},
        {"messages": [{PLANTED["name as a key"]: PLANTED["name in an answer"]}]},
        {PLANTED["name as a key"]: PLANTED["card in a prompt"]},
        {"messages": PLANTED["name in what is not a row"]},
        PLANTED["name in what is not a row"],
        [PLANTED["name in what is not a row"]],
    ]


@pytest.fixture(scope="module")
def ended(tenant: Tenant, kubectl: Kubectl, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Job]]:
    folder = tmp_path_factory.mktemp("planted")
    good = "".join(json.dumps(row) + "\n" for row in [*rows(), *mistaken()])
    (folder / "good.jsonl").write_text(good)
    (folder / "bad.jsonl").write_text("".join(json.dumps(row) + "\n" for row in mistaken() * 20))
    (folder / "torn.jsonl").write_text(good + json.dumps({"messages": [{"role": "user", "content": PLANTED["name in a torn row"]}]})[:-4])
    claims.put(kubectl, NAMESPACE, folder, "/claims/datasets/planted")
    tenant.start(*JOBS.values())
    pod = tenant.training_pod("planted")["metadata"]["name"]
    tenant.follow_until(pod, "progress")
    kubectl.run("get", "--raw", f"/api/v1/namespaces/{NAMESPACE}/pods/{pod}:{PROGRESS_PORT}/proxy/metrics")
    yield {name: tenant.wait_decided(name) for name in JOBS}
    for name in JOBS:
        tenant.delete(name)


def test_they_are_where_data_lie_and_nowhere_else(
    ended: dict[str, Job], tenant: Tenant, kubectl: Kubectl, t3: Testbed, tmp_path: Path
) -> None:
    assert {name: conditions(job)["Ready"]["reason"] for name, job in ended.items()} == ENDS
    layout = NodeLayout(t3)
    assert found_below([layout.volumes]).keys() >= {"name in a prompt", "name in a torn row", "card in a prompt"}  # it can find
    stored = [t3.state_dir / "etcd", t3.logs, layout.pod_logs, layout.kubelet, layout.containerd_state]
    assert all(place.is_dir() for place in stored)
    assert found_below(stored, {"what was asked for": "planted-large"})
    assert found_below(stored) == {}
    (tmp_path / "told").mkdir()
    (tmp_path / "told" / "metrics").write_text(metrics(kubectl))
    tenant.fetch(artifact_folder(ended["planted"]) + ".meta", tmp_path / "told" / "meta")
    assert (tmp_path / "told" / "meta" / "record.json").is_file()
    (tmp_path / "told" / "meta" / "examples.json").unlink()  # texts are what it is for, on the volume of whoever owns the data
    assert found_below([tmp_path / "told"]) == {}
    assert [path for path in files([*stored, layout.volumes]) if path.name.startswith("core") and is_core(path)] == []


def metrics(kubectl: Kubectl) -> str:
    pods = kubectl.get("pods", "-n", OPERATOR_NAMESPACE, "-l", "app.kubernetes.io/name=finetune-operator")["items"]
    paths = [f"/api/v1/namespaces/{OPERATOR_NAMESPACE}/pods/{pod['metadata']['name']}:9090/proxy/metrics" for pod in pods]
    text = "".join(kubectl.run("get", "--raw", path) for path in paths)
    assert "finetune" in text
    return text


def files(places: list[Path]) -> Iterator[Path]:
    """Without the claims that are mounted for a pod that runs still."""
    for path in (path for place in places for path in place.rglob("*")):
        if not MOUNTED.search(path.as_posix()) and path.is_file() and not path.is_symlink():
            yield path


def found_below(places: list[Path], words: dict[str, str] = PLANTED) -> dict[str, str]:
    """What of the words lies in which file, by what they are."""
    wanted = {what: word.encode() for what, word in words.items()}
    found: dict[str, str] = {}
    for path in files(places):
        for piece in pieces(path):
            found |= {what: path.as_posix() for what, word in wanted.items() if word in piece}
    return found


def pieces(path: Path) -> Iterator[bytes]:
    """A file that goes away while it is read held nothing for long."""
    try:
        with path.open("rb") as file:
            overlap = b""
            while block := file.read(MOST_BYTES):
                yield overlap + block
                overlap = block[-256:]
    except OSError:
        return


def is_core(path: Path) -> bool:
    return next(pieces(path), b"")[:4] == b"\x7fELF"
