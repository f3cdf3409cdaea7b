"""Where the API server is."""

from pathlib import Path

import pytest

from finetune_inference.cli.main import main
from finetune_inference.kubernetes.access import SERVICE_ACCOUNT, Access, AccessMissing

POD = {"KUBERNETES_SERVICE_HOST": "10.96.0.1", "KUBERNETES_SERVICE_PORT": "443"}


def test_in_a_pod_everything_is_there():
    found = Access.of(None, None, None, environ=POD)
    assert found == Access("https://10.96.0.1:443", SERVICE_ACCOUNT / "ca.crt", SERVICE_ACCOUNT / "token")


def test_an_address_of_ipv6_has_brackets():
    assert Access.of(None, None, None, environ=POD | {"KUBERNETES_SERVICE_HOST": "fd00::1"}).url == "https://[fd00::1]:443"


def test_what_is_chosen_goes_before():
    chosen = Access.of("https://api:6443/", Path("ca"), Path("token"), environ=POD)
    assert chosen == Access("https://api:6443", Path("ca"), Path("token"))


def test_outside_a_cluster_the_option_is_named():
    with pytest.raises(AccessMissing, match="--kube-api-url"):
        Access.of(None, None, None, environ={})


@pytest.mark.parametrize("content", [b"", b" \n", b"two words", b"\xff\xfe", b"x" * (1 << 21)])
def test_a_file_that_is_no_token_is_refused_without_its_content(tmp_path: Path, content: bytes):
    path = tmp_path / "token"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"{path} ") as refused:
        Access("https://api", path, path).token()
    assert len(str(refused.value)) < 300


AGENT = ["agent", "--store", "s", "--state", "t"]
ROUTE = ["route", "--state-dir", "s"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (AGENT, "--desired --adapter-deployment"),
        ([*AGENT, "--desired", "f", "--adapter-deployment", "a"], "not allowed with"),
        ([*AGENT, "--adapter-deployment", "a"], "needs --namespace"),
        ([*AGENT, "--adapter-deployment", "a", "--namespace", "n"], "--kube-api-url"),
        ([*AGENT, "--adapter-deployment", "a", "--namespace", "n", "--kube-api-url", "http://api"], "not https://HOST:PORT"),
        (ROUTE, "--table or --watch-namespace"),
        ([*ROUTE, "--table", "t", "--watch-namespace", "n"], "--table or --watch-namespace"),
        ([*ROUTE, "--watch-namespace", "n"], "--kube-api-url"),
        ([*ROUTE, "--watch-namespace", "no/name"], "--watch-namespace"),
        ([*ROUTE, "--watch-namespace", "n", "--kube-api-url", "http://api"], "--kube-api-url"),
    ],
)
def test_one_source_is_chosen_and_a_mistake_ends_with_2(arguments, words, capsys, monkeypatch):
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    try:
        code = main(arguments)
    except SystemExit as stopped:
        code = int(stopped.code or 0)
    assert code == 2
    assert words in capsys.readouterr().err
