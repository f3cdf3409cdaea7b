"""What the demo prints: words are words, whatever brackets they hold, and what can be explained is no traceback."""

import io
import stat
import sys
from argparse import Namespace
from pathlib import Path

import pytest
from rich.console import Console

from demo import __main__ as demo
from demo import claims
from demo.environment import Environment
from demo.kubectl import Kubectl, KubectlError
from demo.stopwatch import Stopwatch
from examples.models.smollm2 import ModelUnavailableError
from finetune_testbed.binaries import BinariesError
from finetune_testbed.preflight import PreflightError


@pytest.fixture
def printed(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """What a console of the demo writes."""
    written = io.StringIO()
    monkeypatch.setattr(demo, "Console", lambda: Console(file=written, width=200))
    return written


def run(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> int:
    def play(*_: object) -> None:
        raise error

    monkeypatch.setattr(demo, "play", play)
    monkeypatch.setattr(sys, "argv", ["demo"])
    return demo.main()


@pytest.mark.parametrize("kind", [BinariesError, PreflightError, ModelUnavailableError, KubectlError, OSError])
def test_what_can_be_explained_ends_with_its_message(kind: type[Exception], printed: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(monkeypatch, kind("Install [Go] and see that `go` is on PATH [/etc]")) == 1
    assert printed.getvalue() == "demo: Install [Go] and see that `go` is on PATH [/etc]\n"


def test_a_defect_shows_where_it_is(printed: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ZeroDivisionError):
        run(monkeypatch, ZeroDivisionError())


def test_an_interruption_says_how_to_go_on(printed: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(monkeypatch, KeyboardInterrupt()) == 130
    assert "`make demo` goes on from here, `make demo-down` clears away" in printed.getvalue()


def test_brackets_in_progress_are_printed_as_they_are() -> None:
    written = io.StringIO()
    watch = Stopwatch(Console(file=written, width=200))
    watch.say("  [stage-0 3/7] RUN a [/b]")
    with watch.part("part [1/2]"):
        pass
    watch.print_bill()
    assert "00:00   [stage-0 3/7] RUN a [/b]\n" in written.getvalue()
    assert written.getvalue().count("part [1/2]") == 3


@pytest.mark.parametrize(("cluster", "command"), [("testbed", "make demo-down\n"), ("kind", "make demo-down CLUSTER=kind\n")])
def test_the_farewell_names_the_command_that_takes_this_cluster_away(cluster: str, command: str) -> None:
    surroundings = Environment(Path("/k"), "kubectl", "helm", "o", "t", "i")
    assert command in demo.farewell(Namespace(cluster=cluster), surroundings) + "\n"
    assert "demo-down" not in demo.farewell(Namespace(cluster="existing"), surroundings)


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("echo 'error: pods \"claims\" not found' >&2; exit 1", 'pods "claims" not found'),
        ("exit 0", "kubectl ended before it had read all of it"),
    ],
)
def test_a_copy_that_kubectl_gives_up_ends_with_kubectls_words(tmp_path: Path, script: str, reason: str) -> None:
    program = tmp_path / "kubectl"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    (tmp_path / "model").write_bytes(bytes(1 << 20))
    kubectl = Kubectl(str(program), tmp_path / "config", Console(quiet=True))
    with pytest.raises(KubectlError, match=f"copying model to /claims/models: .*{reason}"):
        claims.put(kubectl, "support", tmp_path / "model", "/claims/models")
