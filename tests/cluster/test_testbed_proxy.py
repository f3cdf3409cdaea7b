"""The proxy passes everything on, counts exactly, and fails where it was told to."""

import http.client
import json
import signal
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import kubernetes
import pytest
import urllib3
from kubernetes.client.exceptions import ApiException

from finetune_testbed import faults, proxy
from finetune_testbed.apiserver import ApiServer
from finetune_testbed.audit import AuditLog
from finetune_testbed.bed import Testbed
from finetune_testbed.faults import Fault
from finetune_testbed.proxy import Moment, Proxy, Strike

AGENT = "proxy-test/1"


def client(through: Proxy, folder: Path) -> Any:
    configuration = kubernetes.client.Configuration()
    kubernetes.config.load_kube_config(str(through.write_kubeconfig(folder / "kubeconfig")), client_configuration=configuration)
    configuration.retries = False
    api = kubernetes.client.ApiClient(configuration)
    api.user_agent = AGENT
    return kubernetes.client.CoreV1Api(api)


def config_map(name: str) -> dict[str, Any]:
    return {"metadata": {"name": name}, "data": {"key": "value"}}


@pytest.fixture
def through(t1: Testbed) -> Iterator[Proxy]:
    with Proxy(t1) as running:
        yield running


@pytest.fixture
def core(through: Proxy, tmp_path: Path) -> Any:
    return client(through, tmp_path)


@pytest.fixture(autouse=True)
def no_config_maps_left(t1: Testbed) -> Iterator[None]:
    yield
    with ApiServer(t1) as server:
        server.request("DELETE", "/api/v1/namespaces/default/configmaps")


def stored(t1: Testbed) -> set[str]:
    with ApiServer(t1) as server:
        return {item["metadata"]["name"] for item in server.request("GET", "/api/v1/namespaces/default/configmaps")["items"]}


def test_its_count_of_writes_is_the_audit_logs(t1: Testbed, through: Proxy, core: Any) -> None:
    log = AuditLog(t1)
    since = log.mark()
    for number in range(5):
        core.create_namespaced_config_map("default", config_map(f"counted-{number}"))
    core.patch_namespaced_config_map("counted-0", "default", {"data": {"key": "other"}})
    core.delete_namespaced_config_map("counted-1", "default")
    core.list_namespaced_config_map("default")
    with pytest.raises(ApiException):
        core.create_namespaced_config_map("default", config_map("counted-0"))
    until = log.mark()
    expected = {"create configmaps": 6, "patch configmaps": 1, "delete configmaps": 1}
    assert through.tally(AGENT) == expected
    assert [call.kind for call in log.writes(AGENT, since=since, until=until)] == [call.kind for call in through.writes(AGENT)]
    assert [call.status for call in through.writes(AGENT)] == [201] * 5 + [200, 200, 409]


def test_dry_runs_reviews_and_leases_are_no_writes(through: Proxy, tmp_path: Path, core: Any) -> None:
    core.create_namespaced_config_map("default", config_map("dry"), dry_run="All")
    access = kubernetes.client.AuthorizationV1Api(core.api_client)
    access.create_self_subject_access_review({"spec": {"resourceAttributes": {"verb": "get", "resource": "pods"}}})
    coordination = kubernetes.client.CoordinationV1Api(core.api_client)
    coordination.create_namespaced_lease("default", {"metadata": {"name": "leader"}, "spec": {"holderIdentity": "a"}})
    coordination.delete_namespaced_lease("leader", "default")
    assert through.writes(AGENT) == []
    assert [call.kind for call in through.calls if call.is_lease] == ["create leases", "delete leases"]


@pytest.mark.parametrize(
    ("fault", "status", "reason"),
    [(Fault.CONFLICT, 409, "Conflict"), (Fault.THROTTLED, 429, "TooManyRequests"), (Fault.INTERNAL, 500, "InternalError")],
)
def test_a_refused_write_is_answered_like_the_api_servers_and_stores_nothing(
    t1: Testbed, through: Proxy, core: Any, fault: Fault, status: int, reason: str
) -> None:
    through.set_rule(faults.at({2: fault}, among=lambda call: call.verb == "create"))
    core.create_namespaced_config_map("default", config_map("first"))
    with pytest.raises(ApiException) as refused:
        core.create_namespaced_config_map("default", config_map("second"))
    core.create_namespaced_config_map("default", config_map("third"))
    assert refused.value.status == status
    assert f'"reason": "{reason}"' in refused.value.body
    assert {"first", "third"} <= stored(t1)
    assert "second" not in stored(t1)


@pytest.mark.parametrize(("fault", "kept"), [(Fault.RESET, False), (Fault.LOST_RESPONSE, True)])
def test_a_broken_connection_hides_whether_the_write_happened(t1: Testbed, through: Proxy, core: Any, fault: Fault, kept: bool) -> None:
    through.set_rule(faults.at({1: fault}, among=lambda call: call.is_write))
    with pytest.raises((urllib3.exceptions.HTTPError, http.client.HTTPException, OSError)):
        core.create_namespaced_config_map("default", config_map("unknown"))
    assert ("unknown" in stored(t1)) is kept


def test_random_faults_repeat_with_their_seed(t1: Testbed, tmp_path: Path) -> None:
    def statuses(seed: int) -> list[int]:
        rule = faults.randomly({Fault.CONFLICT: 0.2, Fault.INTERNAL: 0.2}, seed)
        with Proxy(t1, rule) as through:
            core = client(through, tmp_path)
            for _ in range(30):
                try:
                    core.list_namespaced_config_map("default")
                except ApiException:
                    continue
            return [call.status for call in through.calls]

    assert statuses(7) == statuses(7)
    assert {409, 500, 200} <= set(statuses(7))


@pytest.mark.parametrize(("moment", "expected"), [(Moment.BEFORE, 2), (Moment.COMMITTED, 3), (Moment.ANSWERED, 3)])
def test_a_client_is_killed_at_its_third_write(t1: Testbed, through: Proxy, tmp_path: Path, moment: Moment, expected: int) -> None:
    kubeconfig = through.write_kubeconfig(tmp_path / "kubeconfig")
    program = (
        "import kubernetes, sys\n"
        f"kubernetes.config.load_kube_config({str(kubeconfig)!r})\n"
        "core = kubernetes.client.CoreV1Api()\n"
        "sys.stdin.readline()\n"
        "for number in range(50):\n"
        "    core.create_namespaced_config_map('default', {'metadata': {'name': f'killed-{number}'}})\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE) as process:
        through.set_strike(Strike(after=3, action=proxy.kill(process.pid), moment=moment))
        assert process.stdin is not None
        process.stdin.write(b"go\n")
        process.stdin.flush()
        assert through.wait_struck(120)
        assert process.wait(120) == -signal.SIGKILL
    written = {name for name in stored(t1) if name.startswith("killed-")}
    if moment is Moment.ANSWERED:
        # Between its answer and its death a client may have sent one more.
        assert {f"killed-{number}" for number in range(expected)} <= written
    else:
        assert written == {f"killed-{number}" for number in range(expected)}


def test_watches_go_silent_or_break_on_demand(t1: Testbed, through: Proxy, core: Any) -> None:
    seen: list[str] = []
    ended = threading.Event()

    def follow() -> None:
        try:
            for event in kubernetes.watch.Watch().stream(core.list_namespaced_config_map, "default", _request_timeout=60):
                seen.append(event["object"].metadata.name)
        except (urllib3.exceptions.HTTPError, http.client.HTTPException, OSError):
            pass
        finally:
            ended.set()

    watcher = threading.Thread(target=follow, daemon=True)
    with ApiServer(t1) as server:
        watcher.start()
        create(server, "loud")
        wait(lambda: "loud" in seen)
        through.freeze_watches()
        create(server, "unheard")
        create(server, "also-unheard")
        assert not ended.wait(1.0)
        assert "also-unheard" not in seen
        through.thaw_watches()
        wait(lambda: "also-unheard" in seen)
    through.cut_watches()
    # The client library's watch begins anew by itself after a break; what matters is that the first call has ended.
    wait(lambda: any(call.is_watch for call in through.calls))


def test_watches_are_told_on_demand_that_their_version_is_gone(t1: Testbed, through: Proxy) -> None:
    context = ssl.create_default_context(cafile=t1.pki / "ca.crt")
    connection = http.client.HTTPSConnection("127.0.0.1", through.port, context=context, timeout=120)
    connection.request("GET", "/api/v1/namespaces/default/configmaps?watch=true")
    answer = connection.getresponse()
    with ApiServer(t1) as server:
        create(server, "before-the-end")
    while json.loads(answer.readline())["object"]["metadata"]["name"] != "before-the-end":
        pass
    through.expire_watches()
    last = json.loads(answer.readline())
    assert (last["type"], last["object"]["code"]) == ("ERROR", 410)
    with suppress(http.client.IncompleteRead):
        assert answer.readline() == b""
    connection.close()


def test_a_bearer_token_is_passed_on_as_that_account(t1: Testbed, through: Proxy, tmp_path: Path) -> None:
    with ApiServer(t1) as server:
        account = {"metadata": {"generateName": "narrow-"}}
        name = server.request("POST", "/api/v1/namespaces/default/serviceaccounts", account)["metadata"]["name"]
        path = f"/api/v1/namespaces/default/serviceaccounts/{name}/token"
        token = server.request("POST", path, {"spec": {"expirationSeconds": 600}})["status"]["token"]
    configuration = kubernetes.client.Configuration()
    kubeconfig = through.write_kubeconfig(tmp_path / "narrow", token)
    kubernetes.config.load_kube_config(str(kubeconfig), client_configuration=configuration)
    core = kubernetes.client.CoreV1Api(kubernetes.client.ApiClient(configuration))
    with pytest.raises(ApiException) as refused:
        core.list_namespaced_secret("default")
    assert refused.value.status == 403
    assert f"system:serviceaccount:default:{name}" in refused.value.body


def create(server: ApiServer, name: str) -> None:
    server.request("POST", "/api/v1/namespaces/default/configmaps", config_map(name))


def wait(look: Any, seconds: float = 120.0) -> None:
    deadline = time.monotonic() + seconds
    while not look():
        assert time.monotonic() < deadline
        time.sleep(0.02)
